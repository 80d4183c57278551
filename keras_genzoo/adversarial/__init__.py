"""What a generator and a critic play for: objectives, penalties on the critic, and games of codes and of patches; and the way
back from images to latents."""

from keras_genzoo.adversarial.game import LatentGame
from keras_genzoo.adversarial.objectives import (
    DIVERGENCES,
    MMD,
    OBJECTIVES,
    Cramer,
    FDivergence,
    Fisher,
    Hinge,
    LeastSquares,
    Minimax,
    NonSaturating,
    Objective,
    Relativistic,
    Wasserstein,
    get_objective,
)
from keras_genzoo.adversarial.patches import PatchGame
from keras_genzoo.adversarial.paths import PathLength
from keras_genzoo.adversarial.penalties import (
    PENALTIES,
    AdversarialLipschitz,
    Consistency,
    Penalty,
    SlopePenalty,
    get_penalty,
    slopes,
)
from keras_genzoo.adversarial.projecting import nearest_draws, nearest_latents

__all__ = [
    "DIVERGENCES",
    "MMD",
    "OBJECTIVES",
    "PENALTIES",
    "AdversarialLipschitz",
    "Consistency",
    "Cramer",
    "FDivergence",
    "Fisher",
    "Hinge",
    "LatentGame",
    "LeastSquares",
    "Minimax",
    "NonSaturating",
    "Objective",
    "PatchGame",
    "PathLength",
    "Penalty",
    "Relativistic",
    "SlopePenalty",
    "Wasserstein",
    "get_objective",
    "get_penalty",
    "nearest_draws",
    "nearest_latents",
    "slopes",
]
