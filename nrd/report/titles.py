"""What methods, datasets, noises and variants are called where people read them."""

from dataclasses import dataclass, field

from nrd.catalogue import NOISE_SLUGS
from nrd.layout import Layout
from nrd.spec import NoiseSpec
from nrd.study import Project, Study

MAIN = "main"  # label of the table of a block that names none


@dataclass(frozen=True)
class Titles:
    """Titles of what a study names; ``variants`` by (table, variant), ``noises`` by (dataset, noise)."""

    methods: dict[str, str]
    datasets: dict[str, str]
    variants: dict[tuple[str, str], str]
    noises: dict[tuple[str, str], str]
    classes: dict[str, tuple[str, ...]] = field(default_factory=dict)

    def row(self, table: str, method: str, variant: str) -> str:
        """Title of a table's row or a figure's line: the method, and the variant in brackets where there is one."""
        title = self.methods.get(method, method)
        return f"{title} ({self.variants.get((table, variant), variant)})" if variant else title

    def dataset(self, dataset: str) -> str:
        """Title of a dataset."""
        return self.datasets.get(dataset, dataset)

    def noise(self, dataset: str, noise: str) -> str:
        """Title of a noise on a dataset."""
        return self.noises.get((dataset, noise), noise)


def read_titles(study: Study, layout: Layout) -> Titles:
    """Collect the titles under ``params/`` and in the study itself."""
    project = Project(layout.root)
    return Titles(
        methods={name: config.title for name, config in project.methods.items()},
        datasets={name: config.title for name, config in project.datasets.items()},
        variants={(b.table, v.name): v.title or v.name for b in study.config.grid for v in b.variants},
        classes={name: config.classes for name, config in project.datasets.items() if config.classes},
        noises={(s.dataset.name, s.noise.slug): noise_title(s.noise) for s in study.specs.values()},
    )


def noise_title(noise: NoiseSpec) -> str:
    """Title of a noise, with its nominal rate in per cent.

    >>> noise_title(NoiseSpec(slug="sym40", definition="symmetric", rate=0.4))
    'symmetric 40 %'
    """
    if noise.definition == "none":
        return "no noise"
    if noise.label_set:
        return f"human labels ({noise.label_set})"
    kind = next((k for k in sorted(NOISE_SLUGS, key=len, reverse=True) if noise.slug.startswith(k)), noise.slug)
    # The usual asymmetric noise of a dataset is simply "asymmetric"; its other definitions say which they are.
    title = NOISE_SLUGS.get(kind, noise.definition) or "asymmetric"
    return f"{title.replace('-', ' ')} {100 * noise.rate:.6g} %"


def slug_title(slug: str) -> str:
    """Title of a noise that no run of a study may have, from our slug of it.

    >>> slug_title("sym40"), slug_title("clean")
    ('symmetric 40 %', 'no noise')
    """
    kind = slug.rstrip("0123456789")
    if kind == slug:
        return "no noise" if slug == "clean" else slug
    return f"{NOISE_SLUGS.get(kind, kind) or 'asymmetric'} {slug.removeprefix(kind)} %".replace("-", " ")
