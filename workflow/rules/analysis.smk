rule evaluate:
    input:
        expand(
            "results/runs/{{run}}/{file}",
            file=["spec.yaml", "history.csv", "predictions.npz", "machine.json"],
        ),
    output:
        "results/runs/{run}/metrics.json",
    log:
        "results/logs/evaluate/{run}.log",
    benchmark:
        "results/benchmarks/evaluate/{run}.tsv"
    conda:
        "../envs/rules.yaml"
    params:
        nrd=NRD,
    shell:
        "{params.nrd} evaluate {wildcards.run} > {log} 2>&1"


# What finished networks say of views of their training images; only of runs that a study's figures ask about.
rule analyse:
    input:
        # As everywhere, the run's identity is in its name.
        model=ancient("results/runs/{run}/model.safetensors"),
        dataset=lambda w: ancient(
            f"data/datasets/{SPECS[w.run].dataset.name}.safetensors"
        ),
        labels=lambda w: ancient(f"data/labels/{SPECS[w.run].labels_name}.csv"),
    output:
        "results/analyses/{run}/{analysis}.npz",
    log:
        "results/logs/analyse/{run}.{analysis}.log",
    benchmark:
        "results/benchmarks/analyse/{run}.{analysis}.tsv"
    conda:
        "../envs/rules.yaml"
    threads: config.get("threads", 1)
    resources:
        gpu=gpus_per_training(),
        mem_mb=lambda wildcards, attempt: 4000 * attempt,
        runtime="1h",
    params:
        nrd=NRD,
        threads=config.get("threads", 1),
        device=config.get("device", "auto"),
    shell:
        "{params.nrd} analyse {wildcards.run} --name {wildcards.analysis} --device {params.device}"
        " --threads {params.threads} > {log} 2>&1"


rule analyses:
    input:
        lambda _: [path for name in wanted_studies() for path in study_analyses(name)],
