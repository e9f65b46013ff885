"""Studies resolve into the runs they describe; what cannot be run is refused with file, key and what is allowed."""

import csv
import inspect
import itertools

import pytest
import yaml

from nrd.spec import SpecError
from nrd.study import Project


def rewrite(path, change):
    content = yaml.safe_load(path.read_text())
    change(content)
    path.write_text(yaml.safe_dump(content, sort_keys=False))


def test_the_paper_study_is_the_papers_grid(project):
    study = project.study("paper")
    noisy = {r.spec.name for r in study.runs if r.table == "noisy"}
    clean = {r.spec.name for r in study.runs if r.table == "clean"}
    assert (len(noisy), len(clean), len(study.compared.specs)) == (540, 90, 630)
    assert len(study.specs) == 643


def test_runs_for_figures_are_the_papers_analyses(project):
    """What Table 1, Table 6 and Figures 1, 2, 4 and 5 are about, and which of it the grid has already."""
    study = project.study("paper")
    found = {}
    for run in study.runs:
        for figure in run.figures:
            spec = run.spec
            found.setdefault(figure, []).append((spec.dataset.name, spec.method.name, spec.noise.slug))
    memorised = [("cifar10", "ce", noise) for noise in ("sym20", "sym50", "sym80")]
    assert found == {
        "memorised": memorised,
        "dynamics": [("cifar10", "ce", "sym40")],
        "calibration": [*memorised, *(("cifar10", "nrd", noise) for noise in ("sym20", "sym50", "sym80"))],
        "overfitting": [("cifar100", m, f"sym{rate}") for rate in (20, 40, 60, 80) for m in ("gjs", "nrd")],
    }
    new = set(study.specs) - set(study.compared.specs)
    assert len(new) == 4 + 1 + 8
    for run in study.pictured("memorised") + study.pictured("dynamics"):
        used = run.spec.optimization
        assert (used.epochs, used.learning_rate, used.weight_decay) == (200, 0.1, 1e-4)
        assert (used.schedule.milestones, used.schedule.gamma) == ((60, 120, 160), 0.2)
        assert {view.name for view in run.spec.method.views.values()} == {"crop"}
        assert (run.views.vicinal.name, run.views.unseen.name, run.views.points) == (
            "autoaugment_erasing",
            "autoaugment",
            100,
        )
    (moving,) = study.pictured("dynamics")
    assert moving.views.epochs == (40, 70, 100, 150) and set(moving.views.epochs) <= set(moving.spec.snapshots)
    for run in study.pictured("overfitting"):
        assert run.spec.optimization.epochs == 1000 and run.spec.optimization.schedule.milestones == (300, 800)


def test_the_demo_has_at_most_eight_runs_more_than_its_table(project):
    demo, full = project.study("demo"), project.study("demo-full")
    assert (len(demo.compared.specs), len(demo.specs)) == (18, 26)
    assert set(full.specs) - set(full.compared.specs) == set(demo.specs) - set(demo.compared.specs)
    for study in (demo, full):
        assert {figure for run in study.runs for figure in run.figures} == {
            *("memorised", "dynamics", "calibration", "overfitting"),
        }


def test_questions_are_named_by_what_changes_their_answer(project):
    """Names of files that exist must not move; what only chooses what is shown is no part of them."""
    ((run, name), views) = next(iter(project.study("pocket").analyses.items()))
    assert (run, name) == ("cifar10-5k.sym50.ce.s1-11aaec1b", "views-0cf03321")
    assert views.model_copy(update={"average": "logits", "epochs": (1,)}).model_dump() != views.model_dump()
    path = project.layout.params / "studies" / "pocket.yaml"
    names = []
    for change in ({"average": "logits", "epochs": [5, 300]}, {"draws": 21}, {"unseen": "gjs"}):
        rewrite(path, lambda c, change=change: c["grid"][1].update(views=change))
        names += [key[1] for key in Project(project.layout.root).study("pocket").analyses]
    assert names[0] == name and len({*names}) == 3


def test_the_ledger_is_table_5(repository, project):
    """Every resolved run of the paper's grid has the printed learning rate, weight decay and hyper-parameters."""
    path = repository / "params" / "published" / "table5_hyperparameters.csv"
    rows = list(csv.DictReader(line for line in path.read_text().splitlines() if not line.startswith("#")))
    kind = {"none": "clean", "symmetric": "sym", "asymmetric": "asym"}
    specs = {}
    for run in project.study("paper").compared.runs:
        specs[run.spec.dataset.name, run.spec.noise.slug, run.spec.method.name] = run.spec
    assert len(rows) == len(specs) == 2 * 7 * 9
    for row in rows:
        rate = "" if row["noise"] == "none" else str(round(100 * float(row["noise_rate"])))
        spec = specs[row["dataset"], kind[row["noise"]] + rate, row["method"].lower().replace("+", "-")]
        assert spec.optimization.learning_rate == float(row["learning_rate"])
        assert spec.optimization.weight_decay == float(row["weight_decay"])
        own = [v if isinstance(v, list) else [v] for v in spec.method.hyperparameters.values()]
        assert list(itertools.chain(*own)) == [float(v) for v in row["method_hyperparameters"].split()]


def test_every_entry_of_the_ledger_has_a_source(project):
    """Either a source of its own, or the entry it takes and a note that says why."""
    for method in project.methods.values():
        assert method.source
        for dataset, entries in method.ledger.items():
            for noise, entry in entries.items():
                where = (method.name, dataset, noise)
                if entry.same_as is None:
                    assert entry.source and None not in (entry.learning_rate, entry.weight_decay), where
                    required = {key for key, info in method.hyperparameters.items() if info.default is None}
                    assert required <= set(entry.hyperparameters), where
                else:
                    assert entry.note and entries[entry.same_as].same_as is None, where
                    assert (entry.source, entry.learning_rate, entry.weight_decay) == (None, None, None), where
                    assert not entry.hyperparameters, where


def test_published_tables_name_their_source(repository):
    for path in (repository / "params" / "published").glob("*.csv"):
        assert "Neural Vicinal Risk Minimization" in path.read_text().splitlines()[0], path


def test_a_changed_hyperparameter_renames_its_runs_and_no_others(project):
    before = set(project.study("demo").specs)
    path = project.layout.params / "studies" / "demo.yaml"
    rewrite(path, lambda c: c["settings"].update(hyperparameters={"gjs": {"pi1": 0.31}}))
    after = set(Project(project.layout.root).study("demo").specs)
    assert {name.split(".")[2] for name in before ^ after} == {"gjs"}
    assert len(before - after) == len(after - before) == sum(".gjs." in name for name in before)


def test_studies_share_runs(project):
    path = project.layout.params / "studies"
    (path / "again.yaml").write_text((path / "demo.yaml").read_text().replace("name: demo", "name: again"))
    fresh = Project(project.layout.root)
    assert set(fresh.study("again").specs) == set(fresh.study("demo").specs)


def test_variants_deviate_and_the_default_is_shared(project):
    path = project.layout.params / "studies" / "demo.yaml"
    variants = [
        {"name": "scaled", "title": "scaled"},
        {"name": "unscaled", "title": "unscaled", "settings": {"hyperparameters": {"nrd": {"scale": False}}}},
        {"name": "slow", "title": "slow teacher", "settings": {"teacher": {"decay": 0.999}}},
    ]
    rewrite(path, lambda c: c["grid"][0].update(variants=variants, methods=["nrd"]))
    fresh = Project(project.layout.root)
    runs = {run.variant: run.spec for run in fresh.study("demo").compared.runs}
    assert runs["scaled"].name in project.study("demo").specs
    assert runs["unscaled"].method.hyperparameters["scale"] is False
    assert runs["slow"].method.teacher.decay == 0.999
    assert len({spec.name for spec in runs.values()}) == 3


REFUSALS = [
    (lambda c: c.update(color="red"), "demo.yaml: color: unknown key; allowed: name, title"),
    (lambda c: c["settings"].update(lr=0.1), "demo.yaml: settings.lr: unknown key; allowed: network"),
    (lambda c: c["settings"].update(epochs="many"), "demo.yaml: settings.epochs: .*integer.*'many'"),
    (lambda c: c["settings"].update(epochs=0), "demo.yaml: settings.epochs: .*greater than or equal to 1"),
    (
        lambda c: c["settings"].update(batch_size=1039),
        "demo.yaml: grid.0: settings.batch_size: 1039 is more than the 1038 training images of digits",
    ),
    (lambda c: c["settings"].pop("epochs"), "demo.yaml: grid.0: settings.epochs: is required"),
    (lambda c: c["settings"].update(network="vgg"), "settings.network: there is no network 'vgg'; allowed: preact"),
    (
        lambda c: c["settings"]["views"].update(student="blur"),
        "demo.yaml: settings.views.student: there is no view 'blur'; allowed: none, crop",
    ),
    (
        lambda c: c["settings"]["views"].update(student={"name": "crop", "pad": 2}),
        "settings.views.student.pad: unknown option; allowed: padding, flip",
    ),
    (lambda c: c["settings"]["views"].update(pupil="crop"), "no method has a view 'pupil'; allowed: student, teacher"),
    (lambda c: c["grid"][0].update(methods=["nrx"]), "grid.0.methods.0: there is no 'nrx'; allowed: bs, ce"),
    (lambda c: c["grid"][0].update(datasets=["mnist"]), "grid.0.datasets.0: there is no 'mnist'; allowed: cifar10"),
    (lambda c: c["grid"][0].update(noises=["salt40"]), "grid.0.noises.0: there is no noise 'salt40'"),
    (lambda c: c["grid"][0].update(noises=["sym"]), "grid.0.noises.0: 'sym' needs a rate in per cent"),
    (lambda c: c["grid"][0].update(noises=["sym130"]), "grid.0.noises.0: 'sym130': a noise rate is at most 100 %"),
    (lambda c: c["grid"][0].update(noises=[{"kind": "sym", "rate": 1.3}]), "less than or equal to 1"),
    (lambda c: c["grid"][0].update(noises=["asym40"]), "digits defines no asymmetric noise"),
    (
        lambda c: c["grid"][0].update(datasets=["cifar100"], noises=["asymi40"]),
        "noises.0: 'asymi40' is no noise for cifar100: asymmetric-cifar10-independent is for 10 classes, not 100; "
        "allowed, with any rate: clean, sym40, symx40, asym40, asymb40, pair40, idn40, noisyfine$",
    ),
    (
        lambda c: c["grid"][0].update(datasets=["cifar10"], noises=[{"kind": "asymb", "rate": 0.2}]),
        "grid.0.noises.0: 'asymb20' is no noise for cifar10: asymmetric-cifar100-block5 is for 100 classes",
    ),
    (lambda c: c["grid"][0].update(seeds=[]), "grid.0.seeds: .*at least 1"),
    (lambda c: c["grid"][0].update(seeds=[1, 1]), "seeds names something twice"),
    (lambda c: c["grid"][0].update(seeds=[-1]), "grid.0.seeds.0: .*greater than or equal to 0"),
    (lambda c: c["settings"].update(hyperparameters={"gjs": {"pi": 1}}), "gjs has no hyper-parameter 'pi'; allowed"),
    (lambda c: c["settings"].update(hyperparameters={"gjs": {"pi1": 1.5}}), "gjs.pi1: 1.5 is outside"),
    (lambda c: c["settings"].update(hyperparameters={"gjs": {"pi1": "big"}}), "gjs.pi1: expected float, got 'big'"),
    (
        lambda c: c["settings"].update(hyperparameters={"nrd": {"pi": [0.5, 0.5, 0.5]}}),
        r"nrd.pi: \[0.5, 0.5, 0.5\] sums to 1.5, must sum to 1",
    ),
    (lambda c: c["settings"].update(teacher={"decay": 2}), "settings.teacher: decay: .*less than or equal to 1"),
    (lambda c: c["settings"].update(schedule={"name": "step", "milestones": [9, 3]}), "milestones must ascend"),
    (lambda c: c["settings"].update(learning_rate=".nan"), "settings.learning_rate"),
    (lambda c: c["grid"][1].update(table="main"), "table 'main' has blocks with `figures` and without"),
    (lambda c: c.update(grid=c["grid"][1:]), "every block has `figures`; at least one must be without"),
    (lambda c: c["grid"][1].update(figures=["figure1"]), "grid.1.figures.0: .*'memorised', 'dynamics', 'calibration'"),
    (lambda c: c["grid"][3].update(views={}), "views: are for `figures` that have memorised or dynamics"),
    (
        lambda c: c["grid"][2].update(views={"epochs": [7]}),
        r"grid.2.views.epochs: no snapshot is kept of epoch 7.*: 2, 5",
    ),
    (lambda c: c["grid"][2].update(views={"vicinal": "blur"}), "grid.2.views.vicinal: there is no view 'blur'"),
    (lambda c: c.update(name="paper"), "(already the name of|must be the file's name)"),
]


@pytest.mark.parametrize(("change", "expected"), REFUSALS)
def test_refusals_name_file_key_and_what_is_allowed(project, change, expected):
    rewrite(project.layout.params / "studies" / "demo.yaml", change)
    with pytest.raises(SpecError, match=expected):
        Project(project.layout.root).study("demo")


def test_a_datasets_asymmetric_noise_must_fit_its_classes(project):
    path = project.layout.params / "datasets" / "cifar100.yaml"
    rewrite(path, lambda c: c.update(asymmetric="asymmetric-cifar10-sequential"))
    with pytest.raises(SpecError, match=r"datasets/cifar100.yaml: asymmetric: .* is for 10 classes, not 100; allowed"):
        Project(project.layout.root).study("short")


def test_a_method_without_settings_for_a_noise_is_refused(project):
    path = project.layout.params / "studies" / "demo.yaml"
    rewrite(path, lambda c: c["grid"][0].update(datasets=["cifar10"], noises=["pair20"]))
    with pytest.raises(SpecError, match=r"nrd.yaml: ledger.cifar10: no settings for noise 'pair20' \(it has clean"):
        rewrite(path, lambda c: c["grid"][0].update(methods=["nrd"]))
        Project(project.layout.root).study("demo")


def test_two_studies_of_one_name_are_refused(project):
    folder = project.layout.params / "studies"
    (folder / "demo.yml").write_text((folder / "demo.yaml").read_text())
    with pytest.raises(SpecError, match=r"demo.yml: name: 'demo' is already the name of .*demo.yaml"):
        Project(project.layout.root).study("demo")


def test_a_study_must_not_take_the_name_of_a_target(project):
    folder = project.layout.params / "studies"
    (folder / "all.yaml").write_text((folder / "demo.yaml").read_text().replace("name: demo", "name: all"))
    with pytest.raises(SpecError, match="'all' is a target of the workflow"):
        Project(project.layout.root).study("all")


def test_an_unknown_run_or_study_is_told_apart(project):
    with pytest.raises(SpecError, match="there is no study 'x'; params/studies has: demo"):
        project.study("x")
    with pytest.raises(SpecError, match=r"no run 'digits.sym40.ce.s1-00000000'"):
        project.find("digits.sym40.ce.s1-00000000")


def test_the_manifest_moves_only_with_the_runs(project):
    study = project.study("demo")
    assert study.manifest() == Project(project.layout.root).study("demo").manifest()
    assert len(study.manifest().splitlines()) == len(study.runs)


def options_of(function, leave_out=()):
    """Keyword arguments with their defaults."""
    parameters = inspect.signature(function).parameters.values()
    return {p.name: p.default for p in parameters if p.default is not p.empty and p.name not in leave_out}


def test_the_catalogues_views_are_those_of_the_code():
    """The same names, and for each exactly the options and defaults that its code has."""
    from nrd.augment import VIEWS as BUILDERS
    from nrd.augment import create_view
    from nrd.catalogue import VIEWS

    shared = options_of(create_view)
    assert shared == {"padding": 4, "flip": True}
    assert set(VIEWS) == set(BUILDERS)
    for name, entry in VIEWS.items():
        own = options_of(BUILDERS[name])
        # A view that fixes the crop and the flip itself has no such options.
        fixed = set(BUILDERS[name]()) & set(shared)
        assert dict(entry.options) == own | ({} if fixed else shared), name
        assert {type(value) for value in entry.options.values()} <= {bool, int, float, str}
        create_view(name, (0.5,), (0.5,), **entry.options)


def test_the_catalogues_networks_and_noises_are_those_of_the_code():
    from nrd.catalogue import NETWORKS, NOISE_SLUGS, NOISES
    from nrd.label_noise import NOISES as DEFINITIONS
    from nrd.models import MODELS, create_model

    assert set(NOISES) - {"human"} == set(DEFINITIONS)
    assert all(NOISES[name].num_classes == definition.num_classes for name, definition in DEFINITIONS.items())
    assert set(filter(None, NOISE_SLUGS.values())) <= set(NOISES)
    assert set(NETWORKS) == set(MODELS)
    for name, entry in NETWORKS.items():
        options = {key: value for key, value in entry.options.items() if value is not None}
        required = {"widths": (8,), "blocks": (1,)} if name == "preact_resnet" else {}
        if options:
            default, given = create_model(name, 10, **required), create_model(name, 10, **required, **options)
            assert str(default) == str(given), name
        with pytest.raises(TypeError):
            create_model(name, 10, **required, no_such_option=1)


def test_methods_defaults_are_those_of_their_classes(project):
    from nrd.methods.registry import load_class

    for method in project.methods.values():
        signature = inspect.signature(load_class(method.implementation).__init__).parameters
        for key, info in method.hyperparameters.items():
            default = signature[key].default
            assert (None if default is inspect.Parameter.empty else default) == info.default, (method.name, key)


def test_schemas_are_those_of_the_models(repository):
    from nrd.schemas import write_schemas

    assert write_schemas(repository / "workflow" / "schemas", check=True) == []
