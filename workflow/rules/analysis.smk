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
