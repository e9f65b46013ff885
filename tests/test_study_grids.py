"""The studies that are shipped: what each runs, that all of it can be built, and that resolving takes no time."""

import csv
import itertools
import re
import subprocess
import sys

import pytest

from nrd.study import Project

NINE = {"ce", "bs", "ls", "sce", "gce", "nce-rce", "js", "gjs", "nrd"}
PAPER = {"sym20", "sym40", "sym60", "sym80", "asym20", "asym40"}


@pytest.fixture(scope="module")
def shipped(repository):
    return Project(repository)


def grid(study, table=None):
    """Datasets, noises, methods and seeds that a study runs."""
    specs = [run.spec for run in study.runs if table in (None, run.table)]
    keys = (
        lambda s: s.dataset.name,
        lambda s: s.noise.slug,
        lambda s: s.method.name,
        lambda s: s.seed,
    )
    return tuple({key(spec) for spec in specs} for key in keys)


def table5(repository):
    path = repository / "params" / "published" / "table5_hyperparameters.csv"
    return list(csv.DictReader(line for line in path.read_text().splitlines() if not line.startswith("#")))


def test_all_studies_resolve_in_under_five_seconds_without_torch(repository):
    code = (
        "import sys, time\n"
        "from nrd.study import Project\n"
        "project = Project()\n"
        "count = sum(len(project.study(name).specs) for name in project.studies)\n"
        "print(time.process_time(), count, 'torch' in sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=repository, capture_output=True, text=True, check=True)
    seconds, count, torch = done.stdout.split()
    assert float(seconds) < 5 and int(count) > 1000 and torch == "False"


def test_a_header_states_the_number_of_runs(repository, shipped):
    for name in ("short", "demo-full", "pocket", "human", "search", "variants"):
        text = (repository / "params" / "studies" / f"{name}.yaml").read_text()
        header = text[: text.index("\nname:")]
        assert f"{len(shipped.study(name).specs)} runs" in header, name


def test_the_readme_states_the_number_of_runs(repository, shipped):
    rows = re.findall(r"^\| `([a-z-]+)` \| (.*) \|$", (repository / "README.md").read_text(), re.MULTILINE)
    assert {name for name, _ in rows} == set(shipped.studies)
    for name, text in rows:
        study = shipped.study(name)
        compared = len(study.compared.specs)
        assert {f"{number} run" for number in (len(study.specs), compared)} & set(re.findall(r"\d+ run", text)), name
        extra = len(study.specs) - compared
        assert f"({len(study.specs)} runs)" in text or not extra or re.search(rf"\b{extra}\b", text), name


def test_bfloat16_is_named_where_it_deviates_from_the_paper(repository, shipped):
    """The paper's authors trained in float32: header and README say what differs, `variants` measures it."""
    limits = (repository / "README.md").read_text().split("## Limits")[1]
    for name in shipped.studies:
        if {spec.precision for spec in shipped.study(name).specs.values()} == {"float32"}:
            continue
        text = (repository / "params" / "studies" / f"{name}.yaml").read_text()
        assert "bfloat16 (autocast" in text[: text.index("\nsettings:")], name
        assert f"`{name}`" in limits
    assert "float32" in shipped.studies["paper"].description
    runs = [run.spec for run in shipped.study("variants").runs if run.variant == "float32"]
    assert {(spec.dataset.name, spec.precision) for spec in runs} == {("cifar10", "float32"), ("cifar100", "float32")}


def test_short_is_the_papers_grid_at_forty_epochs(shipped):
    short, paper = shipped.study("short"), shipped.study("paper").compared
    for spec in short.specs.values():
        assert spec.optimization.epochs == 40 and spec.optimization.schedule.milestones == (20, 30)

    def cells(study):
        return {(r.table, r.spec.dataset.name, r.spec.noise.slug, r.spec.method.model_dump_json()) for r in study.runs}

    assert cells(short) == cells(paper)
    assert len(short.specs) == 126


def test_demo_full_has_all_methods_and_shares_the_demos_runs(shipped):
    full = shipped.study("demo-full")
    assert grid(full.compared) == ({"digits"}, {"sym40", "sym60"}, NINE, {1, 2, 3})
    assert set(shipped.study("demo").specs) < set(full.specs)


def test_pocket_is_real_cifar10_with_the_hyperparameters_of_table_5(repository, shipped):
    study = shipped.study("pocket").compared
    assert grid(study) == ({"cifar10-5k"}, {"sym60"}, NINE, {1, 2, 3})
    searched = {
        row["method"].lower().replace("+", "-"): [float(v) for v in row["method_hyperparameters"].split()]
        for row in table5(repository)
        if (row["dataset"], row["noise"], row["noise_rate"]) == ("cifar10", "symmetric", "0.6")
    }
    for spec in study.specs.values():
        settings = spec.optimization
        assert (settings.learning_rate, settings.weight_decay, settings.batch_size) == (0.05, 1e-4, 64)
        assert (settings.epochs, settings.schedule.milestones, settings.nesterov) == (100, (50, 75), True)
        assert {role: view.name for role, view in spec.method.views.items()}.items() <= {
            "student": "crop",
            "teacher": "augmix",
        }.items()
        own = [v if isinstance(v, list) else [v] for v in spec.method.hyperparameters.values()]
        assert list(itertools.chain(*own)) == searched[spec.method.name]
        assert spec.evaluation_interval == 5 and spec.network.name == "preact_resnet_pocket"


def test_human_is_every_label_set(repository, shipped):
    study = shipped.study("human")
    assert grid(study)[2:] == (NINE, {1, 2, 3})
    cells = {(spec.dataset.name, spec.noise.slug) for spec in study.specs.values()}
    of_cifar10 = ("aggre", "random1", "random2", "random3", "worst")
    assert cells == {("cifar10", noise) for noise in of_cifar10} | {("cifar100", "noisyfine")}
    paper = {
        (s.dataset.name, s.noise.slug, s.method.name): (s.method, s.optimization)
        for s in shipped.study("paper").compared.specs.values()
    }
    for spec in study.specs.values():
        assert spec.noise.definition == "human" and spec.noise.checksum
        like = "sym40" if spec.noise.slug in ("worst", "noisyfine") else "sym20"
        assert (spec.method, spec.optimization) == paper[spec.dataset.name, like, spec.method.name]


def test_human_labels_are_those_of_the_published_files(shipped, real_data):
    from nrd.data.human_labels import CIFAR_N_LABEL_SETS

    sets = {}
    for spec in shipped.study("human").specs.values():
        config = shipped.datasets[spec.dataset.name].human[spec.noise.slug]
        sets[spec.noise.label_set] = (config.file, config.checksum, spec.dataset.num_classes)
    assert sets == {name: (s.file, s.sha256, s.num_classes) for name, (s, _) in CIFAR_N_LABEL_SETS.items()}


def test_search_covers_the_papers_ranges(repository, shipped):
    study = shipped.study("search")
    assert all(spec.validation == 0.1 for spec in study.specs.values())
    assert grid(study, "pi") == ({"cifar10", "cifar100"}, PAPER | {"clean"}, {"nrd"}, {1})
    found = {}
    for run in study.runs:
        if run.table == "pi":
            pi = run.spec.method.hyperparameters["pi"]
            assert pi[0] == pi[2] and sum(pi) == pytest.approx(1)
            found.setdefault((run.spec.dataset.name, run.spec.noise.slug), []).append(pi[1])
    assert len(found) == 14
    assert all(sorted(values) == [round(k / 10, 1) for k in range(1, 10)] for values in found.values())


@pytest.mark.parametrize("dataset", ["cifar10", "cifar100"])
def test_search_tries_every_learning_rate_and_weight_decay_of_table_5(repository, shipped, dataset):
    rows = [row for row in table5(repository) if row["dataset"] == dataset]
    wanted = {(float(a["learning_rate"]), float(b["weight_decay"])) for a in rows for b in rows}
    tried = {}
    for run in shipped.study("search").runs:
        if run.table == "optimisation" and run.spec.dataset.name == dataset:
            settings = run.spec.optimization
            key = (run.spec.noise.slug, run.spec.method.name)
            tried.setdefault(key, set()).add((settings.learning_rate, settings.weight_decay))
    assert set(tried) == {(noise, method) for noise in ("sym40", "asym40") for method in ("gjs", "nrd")}
    assert all(pairs == wanted for pairs in tried.values())


# What of a run each variant changes; nothing else may differ from the paper study's run.
VARIANTS = {
    (): ["default"],
    ("hyperparameters",): [
        *("unscaled", "uniform", "gjs-pi", "gjs-pi-uniform"),
        *("two-views", "nvr", "teacher-views2", "teacher-views4"),
    ],
    ("teacher",): [
        *("self", "self-bn-eval", "bn-eval", "bn-eval-copy"),
        *("decay0", "decay09", "decay0999", "round2", "round3"),
    ],
    ("hyperparameters", "teacher"): ["self-two-views", "no-stop-gradient"],
    ("views",): [
        *("gjs-cutout5", "paper-view", "paper-view-cutout16", "autoaugment"),
        *("augmix-original", "ner"),
    ],
    ("network",): ["standard-network"],
    ("optimization",): ["weight-decay"],
    ("precision",): ["float32"],
}
VARIANTS = {name: set(parts) for parts, names in VARIANTS.items() for name in names}


def test_each_variant_changes_what_its_name_says(shipped):
    study = shipped.study("variants")
    base = {s.name: s for s in shipped.study("paper").compared.specs.values() if s.method.name == "nrd"}
    base = {(s.dataset.name, s.seed): s for s in base.values() if s.noise.slug == "sym40"}
    seen = {}
    for run in study.runs:
        if run.table != "nrd":
            continue
        default, spec = base[run.spec.dataset.name, run.spec.seed], run.spec
        outer = {key for key in ("network", "optimization", "precision") if getattr(spec, key) != getattr(default, key)}
        own = ("hyperparameters", "views", "teacher")
        inner = {key for key in own if getattr(spec.method, key) != getattr(default.method, key)}
        assert outer | inner == VARIANTS[run.variant], run.variant
        undone = spec.method.model_copy(update={key: getattr(default.method, key) for key in inner})
        update = {key: getattr(default, key) for key in ("network", "optimization", "precision")} | {"method": undone}
        assert spec.model_copy(update=update).name == default.name
        seen.setdefault(run.variant, set()).add((spec.dataset.name, spec.seed, spec.name))
    assert set(seen) == set(VARIANTS)
    for names in seen.values():
        assert {entry[:2] for entry in names} == {(d, s) for d in ("cifar10", "cifar100") for s in (1, 2, 3)}
    assert len({name for names in seen.values() for *_, name in names}) == 6 * len(VARIANTS), "no two are the same"
    titles = [v.title for v in study.config.grid[0].variants]
    assert len(set(titles)) == len(titles)


def test_the_variants_of_the_teacher_are_those_of_the_sources(shipped):
    runs = {
        r.variant: r.spec.method
        for r in shipped.study("variants").runs
        if r.table == "nrd" and (r.spec.dataset.name, r.spec.seed) == ("cifar10", 1)
    }
    assert [runs[name].teacher.decay for name in ("decay0", "decay09", "default", "decay0999")] == [0, 0.9, 0.99, 0.999]
    assert runs["ner"].views["teacher"] == runs["ner"].views["student"]
    assert runs["nvr"].hyperparameters == {"pi": [0.0, 0.75, 0.25], "scale": False}
    assert runs["no-stop-gradient"].teacher.kind == "self"
    assert runs["round2"].teacher.checkpoint in shipped.study("paper").specs
    assert runs["bn-eval-copy"].teacher.buffers == "copy"


def test_every_method_view_and_network_of_every_study_can_be_built(shipped):
    """Weights that make no loss, or a network's options, are seen here and not after a night on the cluster."""
    from nrd.augment import create_view
    from nrd.methods.registry import create_method
    from nrd.models import create_model

    methods, networks = {}, {}
    for name in shipped.studies:
        for spec in shipped.study(name).specs.values():
            methods[spec.method.model_dump_json(exclude={"teacher": {"checkpoint"}})] = spec
            networks[spec.network.model_dump_json()] = spec
    assert len(methods) > 80
    for spec in methods.values():
        counts = create_method(spec.method).view_counts
        assert set(counts) == set(spec.method.views)
        for view in spec.method.views.values():
            create_view(view.name, spec.dataset.mean, spec.dataset.std, **view.options)
    for spec in networks.values():
        create_model(spec.network.name, 10, spec.dataset.channels, **spec.network.options)
