rule results:
    input:
        runs="results/studies/{study}/runs.jsonl",
        metrics=lambda w: study_runs(w.study, "metrics.json"),
    output:
        expand("results/reports/{{study}}/{file}.csv", file=["results", "provenance"]),
    log:
        "results/logs/report/{study}.results.log",
    benchmark:
        "results/benchmarks/report/{study}.results.tsv"
    conda:
        "../envs/rules.yaml"
    params:
        nrd=NRD,
    shell:
        "{params.nrd} report {wildcards.study} --part results > {log} 2>&1"


rule tables:
    input:
        "results/reports/{study}/results.csv",
    output:
        expand(
            "results/reports/{{study}}/accuracy.{suffix}", suffix=["csv", "md", "tex"]
        ),
    log:
        "results/logs/report/{study}.tables.log",
    benchmark:
        "results/benchmarks/report/{study}.tables.tsv"
    conda:
        "../envs/rules.yaml"
    params:
        nrd=NRD,
    shell:
        "{params.nrd} report {wildcards.study} --part tables > {log} 2>&1"


rule figures:
    input:
        "results/reports/{study}/results.csv",
        lambda w: study_runs(w.study, "history.csv"),
    output:
        expand(
            "results/reports/{{study}}/curves.{suffix}", suffix=["csv", "png", "svg"]
        ),
    log:
        "results/logs/report/{study}.figures.log",
    benchmark:
        "results/benchmarks/report/{study}.figures.tsv"
    conda:
        "../envs/rules.yaml"
    params:
        nrd=NRD,
    shell:
        "{params.nrd} report {wildcards.study} --part figures > {log} 2>&1"


rule page:
    input:
        rules.results.output,
        rules.tables.output,
        rules.figures.output,
    output:
        "results/reports/{study}/index.html",
    log:
        "results/logs/report/{study}.page.log",
    benchmark:
        "results/benchmarks/report/{study}.page.tsv"
    conda:
        "../envs/rules.yaml"
    params:
        nrd=NRD,
    shell:
        "{params.nrd} report {wildcards.study} --part page > {log} 2>&1"


# One target per study, named like it.
for study_name in STUDIES:

    rule:
        name:
            study_name
        input:
            f"results/reports/{study_name}/index.html",
            f"results/studies/{study_name}/tracked.txt",
