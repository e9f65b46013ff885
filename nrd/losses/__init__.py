"""Loss functions for learning with noisy labels.

Every loss is a ``torch.nn.Module`` with ``reduction="mean" | "none" | "sum"``. It takes logits of shape (N, K) and a
target that is either class indices (N,) or a probability matrix (N, K), and works in float32 (float64 for float64
logits) whatever autocast says. Only torch is imported.

==============================  =================================================  =============================
loss                            call                                               source
==============================  =================================================  =============================
``CrossEntropy``                ``loss(logits, target)``                           Bishop, 2006
``Bootstrapping``               ``loss(logits, target)``                           Reed et al., 2015
``LabelSmoothing``              ``loss(logits, target)``                           Szegedy et al., 2016
``SymmetricCrossEntropy``       ``loss(logits, target)``                           Wang et al., 2019
``GeneralizedCrossEntropy``     ``loss(logits, target)``                           Zhang and Sabuncu, 2018
``NCEAndRCE``                   ``loss(logits, target)``                           Ma et al., 2020
``MeanAbsoluteError``           ``loss(logits, target)``                           Ghosh et al., 2017
``JensenShannon``               ``loss(logits, target)``                           Englesson and Azizpour, 2021
``GeneralizedJensenShannon``    ``loss([logits_1, logits_2], target)``             Englesson and Azizpour, 2021
``NRDLoss``                     ``loss(student_logits, teacher_logits, target)``   the NRD paper, equation 25
==============================  =================================================  =============================

``js_divergence(distributions, weights)`` is the generalised Jensen-Shannon divergence itself. A new loss of one
prediction is a subclass of ``LabelLoss`` with ``per_sample(log_p, y)``.

``validate=True``, the default, also checks the values of targets (a class index out of range, rows that are no
distributions). That makes a GPU wait for the CPU: pass ``validate=False`` in a training loop whose labels were checked
once. Shapes are always checked. The value checks are left out inside ``torch.compile`` and CUDA graph capture.
"""

from nrd.losses.base import Loss
from nrd.losses.divergence import GeneralizedJensenShannon, JensenShannon, NRDLoss, js_divergence
from nrd.losses.robust import (
    Bootstrapping,
    CrossEntropy,
    GeneralizedCrossEntropy,
    LabelLoss,
    LabelSmoothing,
    MeanAbsoluteError,
    NCEAndRCE,
    SymmetricCrossEntropy,
)

__all__ = [
    "Bootstrapping",
    "CrossEntropy",
    "GeneralizedCrossEntropy",
    "GeneralizedJensenShannon",
    "JensenShannon",
    "LabelLoss",
    "LabelSmoothing",
    "Loss",
    "MeanAbsoluteError",
    "NCEAndRCE",
    "NRDLoss",
    "SymmetricCrossEntropy",
    "js_divergence",
]
