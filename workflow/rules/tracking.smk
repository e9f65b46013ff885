# Training is mirrored to MLflow while it goes on; this brings whatever did not arrive. A store that cannot be reached
# is reported, and fails nothing: no table depends on it.
rule track:
    input:
        lambda w: study_runs(w.study, "metrics.json"),
    output:
        "results/studies/{study}/tracked.txt",
    log:
        "results/logs/track/{study}.log",
    benchmark:
        "results/benchmarks/track/{study}.tsv"
    conda:
        "../envs/rules.yaml"
    params:
        nrd=NRD,
    shell:
        "{params.nrd} track --sync {wildcards.study} --lenient > {output} 2> {log}"
