"""Each figure twice: `x_info(...)` says what to draw as plain frozen data, `x_plot(info)` draws it with plotly.

Tests and people who draw with something else use the data; only the `_plot` functions need plotly.
"""

from advisor.figures.accuracy_vs_cost import AccuracyInfo, AccuracyPoint, accuracy_vs_cost_info, accuracy_vs_cost_plot
from advisor.figures.allocation_heat import AllocationInfo, allocation_heat_info, allocation_heat_plot
from advisor.figures.costs_vs_budgets import CostBar, CostsInfo, costs_vs_budgets_info, costs_vs_budgets_plot
from advisor.figures.densities import DensitiesInfo, DensityBar, densities_info, densities_plot
from advisor.figures.frontier import FrontInfo, FrontPoint, frontier_info, frontier_plot
from advisor.figures.frontier_map import FrontMapInfo, MapPoint, frontier_map_info, frontier_map_plot
from advisor.figures.layer_graph import GraphEdge, GraphNode, LayerGraphInfo, layer_graph_info, layer_graph_plot
from advisor.figures.learning_curves import Curve, CurvesInfo, learning_curves_info, learning_curves_plot
from advisor.figures.predicted_vs_measured import (
    PredictedInfo,
    PredictedPair,
    predicted_vs_measured_info,
    predicted_vs_measured_plot,
)
from advisor.figures.rate_range import RateRangeInfo, rate_range_info, rate_range_plot

__all__ = [
    "AccuracyInfo",
    "AccuracyPoint",
    "AllocationInfo",
    "CostBar",
    "CostsInfo",
    "Curve",
    "CurvesInfo",
    "DensitiesInfo",
    "DensityBar",
    "FrontInfo",
    "FrontMapInfo",
    "FrontPoint",
    "GraphEdge",
    "GraphNode",
    "LayerGraphInfo",
    "MapPoint",
    "PredictedInfo",
    "PredictedPair",
    "RateRangeInfo",
    "accuracy_vs_cost_info",
    "accuracy_vs_cost_plot",
    "allocation_heat_info",
    "allocation_heat_plot",
    "costs_vs_budgets_info",
    "costs_vs_budgets_plot",
    "densities_info",
    "densities_plot",
    "frontier_info",
    "frontier_map_info",
    "frontier_map_plot",
    "frontier_plot",
    "layer_graph_info",
    "layer_graph_plot",
    "learning_curves_info",
    "learning_curves_plot",
    "predicted_vs_measured_info",
    "predicted_vs_measured_plot",
    "rate_range_info",
    "rate_range_plot",
]
