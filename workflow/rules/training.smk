# Retries belong into the profile: a rule's own would be repeated inside a cluster job.
rule train:
    input:
        dataset=lambda w: ancient(
            f"data/datasets/{SPECS[w.run].dataset.name}.safetensors"
        ),
        labels=lambda w: ancient(f"data/labels/{SPECS[w.run].labels_name}.csv"),
        # A frozen teacher is the student of a finished run.
        teacher=lambda w: [
            ancient(f"results/runs/{run}/model.safetensors")
            for run in SPECS[w.run].requires
        ],
    output:
        trained(expand("results/runs/{{run}}/{file}", file=TRAINED)),
    log:
        "results/logs/train/{run}.log",
    benchmark:
        "results/benchmarks/train/{run}.tsv"
    conda:
        "../envs/rules.yaml"
    threads: config.get("threads", 1)
    resources:
        gpu=gpus_per_training(),
        # More for another attempt: a job that ran out of memory would do so again.
        mem_mb=lambda wildcards, attempt: 4000 * attempt,
        runtime="12h",
    params:
        nrd=NRD,
        study=lambda w: study_of(w.run),
        # Fixed here and not by the scheduler: another number of threads rounds differently.
        threads=config.get("threads", 1),
        device=config.get("device", "auto"),
        track=tracking_option(),
    # Waits: a Snakemake that was killed may have left a process that trains this run.
    shell:
        "{params.nrd} train {wildcards.run} --study {params.study} --wait {params.track} --device {params.device}"
        " --threads {params.threads} > {log} 2>&1"


rule runs:
    input:
        lambda _: [
            path
            for name in wanted_studies()
            for path in study_runs(name, "metrics.json")
        ],
