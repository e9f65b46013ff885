# The whole result grid from one command:
#
#     snakemake --cores all            the paper's grid (for GPUs)
#     snakemake --cores all demo       a few minutes on two cores
#     snakemake --cores all <study>    any study in params/studies/
#
# What is run is said in params/; what a rule does, a person can type: each calls the `nrd` command.
from snakemake.utils import min_version

min_version("9.5")


include: "workflow/rules/common.smk"
include: "workflow/rules/datasets.smk"
include: "workflow/rules/labels.smk"
include: "workflow/rules/training.smk"
include: "workflow/rules/analysis.smk"
include: "workflow/rules/report.smk"
include: "workflow/rules/tracking.smk"


# On a cluster only training and analyse are submitted. The rest takes seconds, and a download needs the network that compute nodes
# may not have: it runs beside Snakemake. Without a cluster this says nothing.
localrules:
    dataset,
    given_labels,
    evaluate,
    results,
    tables,
    figures,
    paper_figures,
    page,
    track,


rule all:
    default_target: True
    input:
        rules.paper.input,


onstart:
    announce()


onsuccess:
    point_to_reports()


onerror:
    point_to_logs()
