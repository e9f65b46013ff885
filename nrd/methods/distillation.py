"""Noise-robust distillation: the student learns from the label and from a teacher that sees another kind of view."""

from torch import Tensor, nn

from nrd.losses import NRDLoss
from nrd.methods.base import Batch, Context, Method
from nrd.methods.teacher import Teacher
from nrd.spec import TeacherSpec


class NRD(Method):
    """NRD (paper eq. 25, Algorithm 1): JSD over label, student on its view, and teacher on an unseen kind of view.

    The paper's steps towards it are settings: the teacher's view that of the student (NER, eqs. 7-8), no label term
    (NVR alone, eq. 18: ``pi[0] = 0`` and ``scale = False``), no stop-gradient (a teacher of kind ``self`` with
    ``stop_gradient = False``: GJS with two kinds of view), several teacher views averaged (eq. 22), a finished run's
    student as teacher (eq. 23), and the average's decay (eq. 24).
    """

    def __init__(
        self,
        pi: list[float],
        scale: bool = True,
        kl_weights: str = "pi",
        student_views: int = 1,
        teacher_views: int = 1,
        stop_gradient: bool = True,
        teacher: TeacherSpec | None = None,
    ) -> None:
        super().__init__(teacher=teacher or TeacherSpec())
        if len(pi) != student_views + 2:
            raise ValueError(f"NRD with {student_views} student view(s) needs {student_views + 2} weights pi, got {pi}")
        if not stop_gradient and self.teacher_spec.kind != "self":
            raise ValueError(
                f"stop_gradient: false needs a teacher of kind self, whose weights are the student's: the gradient of "
                f"a teacher of kind {self.teacher_spec.kind} would train nothing"
            )
        self.counts = {"student": student_views, "teacher": teacher_views}
        self.stop_gradient = stop_gradient
        self.loss = NRDLoss(tuple(pi), scale=scale, kl_weights=kl_weights, stop_gradient=stop_gradient, validate=False)

    @property
    def view_counts(self) -> dict[str, int]:
        """Views of the student and of the teacher; the loss averages the teacher's predictions (eq. 22)."""
        return self.counts

    def setup(
        self, networks: list[nn.Module], num_samples: int, num_classes: int, frozen: nn.Module | None = None
    ) -> None:
        """Make the teacher from the untrained student, or from the finished one."""
        super().setup(networks, num_samples, num_classes)
        self.teacher = Teacher(self.teacher_spec, self.networks[0], frozen)

    def step(self, ctx: Context, batch: Batch) -> dict[str, Tensor]:
        """Loss between the given labels, the student's predictions and the teacher's."""
        student = self.networks[0]
        logits = [student(view) for view in batch.views["student"]]
        gradient = not self.stop_gradient
        taught = [self.teacher(view, student, gradient) for view in batch.views["teacher"]]
        loss = self.loss(
            logits if len(logits) > 1 else logits[0], taught if len(taught) > 1 else taught[0], batch.targets
        )
        return {"loss": loss, "logits": logits[0]}

    def on_step_end(self, ctx: Context) -> None:
        """Move the teacher's average."""
        self.teacher.update(self.networks[0])

    def exports(self) -> dict[str, nn.Module]:
        """The student, whose accuracy the paper reports, and an averaged teacher."""
        networks = super().exports()
        if self.teacher_spec.kind == "ema":
            networks["teacher"] = self.teacher.network
        return networks
