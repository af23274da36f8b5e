"""What each weight of a network is worth: arrays of scores in the stored shapes. Importing the package fills the table.

Arrays are all that leaves this room, so the planner above it sees NumPy; the files that look at a running module load
torch when they are asked.
"""

from advisor.saliency.curvature import fisher
from advisor.saliency.gradients import snip, taylor1, taylor2
from advisor.saliency.preserving import grasp
from advisor.saliency.registry import SALIENCIES, Saliency, Scores, register, scores_of
from advisor.saliency.synaptic import synflow, synflow100
from advisor.saliency.weights import lamp, magnitude, weight_of

__all__ = [
    "SALIENCIES",
    "Saliency",
    "Scores",
    "fisher",
    "grasp",
    "lamp",
    "magnitude",
    "register",
    "scores_of",
    "snip",
    "synflow",
    "synflow100",
    "taylor1",
    "taylor2",
    "weight_of",
]
