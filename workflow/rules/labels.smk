rule given_labels:
    input:
        # Its identity is in the spec, by checksum: a newer file of the same content changes nothing.
        dataset=lambda w: ancient(
            f"data/datasets/{LABELS[w.labels].dataset.name}.safetensors"
        ),
    output:
        "data/labels/{labels}.csv",
    log:
        "results/logs/labels/{labels}.log",
    benchmark:
        "results/benchmarks/labels/{labels}.tsv"
    conda:
        "../envs/rules.yaml"
    params:
        nrd=NRD,
    shell:
        "{params.nrd} labels {wildcards.labels} > {log} 2>&1"


rule labels:
    input:
        lambda _: sorted(
            {
                f"data/labels/{spec.labels_name}.csv"
                for name in wanted_studies()
                for spec in STUDIES[name].specs.values()
            }
        ),
