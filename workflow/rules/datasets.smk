rule dataset:
    output:
        "data/datasets/{dataset}.safetensors",
    log:
        "results/logs/dataset/{dataset}.log",
    benchmark:
        "results/benchmarks/dataset/{dataset}.tsv"
    conda:
        "../envs/rules.yaml"
    params:
        nrd=NRD,
    shell:
        "{params.nrd} data {wildcards.dataset} > {log} 2>&1"


rule datasets:
    input:
        lambda _: sorted(
            {
                f"data/datasets/{spec.dataset.name}.safetensors"
                for name in wanted_studies()
                for spec in STUDIES[name].specs.values()
            }
        ),
