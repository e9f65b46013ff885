rule results:
    input:
        runs="results/studies/{study}/runs.jsonl",
        metrics=lambda w: study_runs(w.study, "metrics.json"),
    output:
        report_files(RESULT_FILES),
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
        report_files(TABLE_FILES),
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
        lambda w: study_runs(w.study, "predictions.npz"),
    output:
        report_files(FIGURE_FILES),
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


# The paper's Table 1, Figures 1, 2, 4 and 5 and Table 6: each picture with the data file that it is drawn from.
rule paper_figures:
    input:
        "results/reports/{study}/results.csv",
        lambda w: study_runs(w.study, "history.csv"),
        lambda w: study_runs(w.study, "predictions.npz"),
        lambda w: study_analyses(w.study),
    output:
        report_files(PAPER_FIGURES),
    log:
        "results/logs/report/{study}.paper-figures.log",
    benchmark:
        "results/benchmarks/report/{study}.paper-figures.tsv"
    conda:
        "../envs/rules.yaml"
    params:
        nrd=NRD,
    shell:
        "{params.nrd} report {wildcards.study} --part paper-figures > {log} 2>&1"


rule page:
    input:
        lambda w: report_paths(w.study),
        # Where MLflow shows the runs: the page links to it.
        "results/studies/{study}/tracked.txt",
    output:
        report_file("index.html"),
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


# One target per study, named like it. It asks for every file of the report: Snakemake does not miss one that only the
# page, which is there, was made from.
for study_name in STUDIES:

    rule:
        name:
            study_name
        input:
            f"results/reports/{study_name}/index.html",
            report_paths(study_name),
            f"results/studies/{study_name}/tracked.txt",
