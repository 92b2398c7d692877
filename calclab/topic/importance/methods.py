"""The methods by name, and what the values of each are: of which things, of which number, in which unit."""

from __future__ import annotations

OF_NEURON = ("neuron_gradient", "neuron_conductance", "neuron_integrated_gradients")  # inputs, by one unit of a layer
OF_UNITS = ("conductance", "layer_activation", "layer_gradient_x_activation", "layer_integrated_gradients")
LAYERED = ("gradcam", *OF_NEURON, *OF_UNITS)  # these need a layer
OF_INPUTS = (
    "gradient",
    "gradient_x_input",
    "integrated_gradients",
    "expected_gradients",
    "smoothgrad",
    "ablation",
    "occlusion",
    "shapley",
    "deeplift",
    "deeplift_shap",
    "lrp",
    "gradcam",
    *OF_NEURON,
)
BY_ROW = (*OF_INPUTS, *OF_UNITS)
WHOLE = ("permutation",)  # one row of values, of all rows together
METHODS = (*BY_ROW, *WHOLE)
OF_FUNCTIONS = ("gradient", "gradient_x_input", "integrated_gradients", "ablation", "occlusion", "shapley")
OF_CODES = ("ablation", "occlusion", "shapley", "permutation", "layer_activation")  # no derivative by an input
SLOPES = ("gradient", "smoothgrad", "neuron_gradient")  # per unit of the input; the others are shares of a number
SIZES = (*SLOPES, "gradcam")  # tell how much, not whether up or down
INWARD = (
    "neuron_gradient",
    "neuron_integrated_gradients",
    "layer_activation",
)  # of the layer's numbers, not the target
OF_ONE_TRAINING = (*OF_NEURON, *OF_UNITS)  # a unit is another thing after another training
PLAYERS = ("ablation", "shapley", "permutation")  # of these, inputs of one column change together
SAMPLED = ("expected_gradients", "smoothgrad", "shapley")
REFINED = ("integrated_gradients", "conductance")  # to a tolerance
STEPPED = ("layer_integrated_gradients", "neuron_conductance", "neuron_integrated_gradients")
COMPLETE = ("integrated_gradients", "shapley", "deeplift")  # Σ attributions = F(x) - F(baseline), to their tolerance
NEARLY = ("conductance", "layer_integrated_gradients")  # ... and to what their number of points leaves
