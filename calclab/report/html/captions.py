"""What each picture shows, and how to read it: by the picture's name, else by its kind. No imports that cost."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple


class Caption(NamedTuple):
    """``shows`` is one sentence on what is to be seen, ``reading`` how to look at it."""

    shows: str
    reading: str = ""


LOG = "On a logarithmic axis equal steps are equal factors"
NAMED = {
    "formula": Caption("What was asked about, and its derivatives."),
    "errors": Caption(
        "The error of three difference quotients as the step h shrinks.",
        "Read from right to left: each line falls with the order of its formula (slope 1, 2, 4), until rounding makes "
        "it rise again. The lowest point is the best step.",
    ),
    "tangent": Caption(
        "The function with its tangent, secants that close in on it, and the curve under a magnifying glass.",
        "Each secant joins two points of the curve; as they draw together, its slope becomes the derivative. From "
        "frame to frame both axes are enlarged alike: where there is a derivative the curve becomes straight, "
        "a kink stays.",
    ),
    "slices": Caption(
        "The function along each variable, with its tangent.",
        "The slope of a tangent is the partial derivative. Over contours the gradient stands perpendicular to the one "
        "through the point, and shows where the function rises fastest.",
    ),
    "curvature": Caption(
        "The curvature at the point: the ellipse of the Hessian, its eigenvectors, and two ways down.",
        "Across the narrow side of the ellipse the function bends most; eigenvectors are as long as their eigenvalues. "
        "Where the ellipse is long, Newton's step and the negative gradient point apart. Hyperbolas are a saddle.",
    ),
    "gershgorin": Caption(
        "Gershgorin's discs, one for each row of the Hessian.",
        "Every eigenvalue lies in one of them: small discs far from zero settle its sign without computing it.",
    ),
    "deformation": Caption(
        "What the map does to a grid and to a circle.",
        "Close to the point it is what the Jacobian says: the circle becomes an ellipse whose half axes are the "
        "singular values. Where the image leaves the dashed ellipse, the map is no longer linear.",
    ),
    "path": Caption(
        "The walk over the function.",
        "Contours join points of equal value, darker is lower. The walk starts at the open mark and ends at the filled "
        "one; known minima are stars. A gradient step stands perpendicular to the contour that it starts on.",
    ),
    "walk": Caption(
        "The walk on the curve of the function.",
        "Each mark is a step, on the curve at its place: long moves where it is steep, short ones where it is flat.",
    ),
    "loss": Caption(
        "The loss at every step.",
        "A line that has become level has arrived, one that bends up runs away. Where the axis is logarithmic, a "
        "straight line is linear convergence: one factor a step.",
    ),
    "gradient_norm": Caption(
        "Gradient norm and step length at every step.",
        "On a logarithmic axis a straight line is one factor a step. A dashed line, where there is one, is the rate "
        "that theory predicts from the curvature: parallel to it means as fast as theory says.",
    ),
    "edge_of_stability": Caption(
        "Sharpness times learning rate, over two.",
        "Above 1 the steps overshoot along the sharpest direction; gradient descent on networks often hovers there.",
    ),
    "loss_beside_flows": Caption(
        "The loss beside theory's flows.",
        "Gradient flow is gradient descent with small steps. The central flow goes along the middle of the oscillation "
        "that begins where the sharpness reaches 2/lr; of it the loss that the oscillation has on average is shown.",
    ),
    "sharpness_beside_flows": Caption(
        "The sharpness beside theory's flows.",
        "Gradient flow goes on beyond 2/lr, where gradient descent cannot stay; the central flow is held there.",
    ),
    "distance_to_flows": Caption(
        "How far theory's flows are from the run.",
        "Between the means of two steps, which leave out an oscillation to and fro.",
    ),
    "scores": Caption(
        "The score of the network at every step.",
        "Train and held-out rows apart: where the two lines part, the network begins to learn its rows by heart.",
    ),
    "hessian": Caption(
        "The Hessian, entry by entry.",
        "Red is positive, blue negative, white zero. The diagonal is the curvature along each variable; the others say "
        "how much two variables act together.",
    ),
    "eigenvectors": Caption(
        "The directions of the eigenvalues, a column each.",
        "A column of one strong entry is a variable of its own; a mixed column is a valley askew to the axes.",
    ),
    "eigenvalues": Caption(
        "The eigenvalues, largest first.",
        "All above zero: a bowl. Of both signs: a saddle. The largest over the smallest is the condition number.",
    ),
    "spectrum": Caption(
        "How many eigenvalues lie where.",
        "Most lie in the bulk around zero; those that stand apart on the right are the few stiff directions.",
    ),
    "ritz_values": Caption(
        "The estimates of the eigenvalues as products are spent.",
        "A line that has become flat has converged to an eigenvalue.",
    ),
    "residuals": Caption(
        "How far each estimate is from being an eigenvalue.", f"{LOG}; below the tolerance it counts as found."
    ),
    "along_eigenvectors": Caption(
        "Cuts through the loss along eigenvectors.",
        "The dashed parabola is what the eigenvalue predicts; where the loss leaves it, the quadratic model ends.",
    ),
    "across_eigenvectors": Caption(
        "The loss over the plane of two eigenvectors.",
        "Filled contours are the loss, lines the quadratic model at the same levels.",
    ),
    "jacobian": Caption(
        "The Jacobian: outputs down, inputs across.",
        "Red: the output grows with the input. Blue: it falls. A pale column is an input that hardly matters here.",
    ),
    "sensitivity": Caption(
        "The Jacobian's entries over all points, on the whole.", "Dark cells are inputs that an output leans on."
    ),
    "singular_values": Caption(
        "By how much the Jacobian stretches, direction by direction.",
        "The largest is the spectral norm. Values near zero are directions that are lost.",
    ),
    "sweep": Caption(
        "The objective against each knob that was swept.",
        "Each mark is a job; marks at the edge ran away. A dashed line is the limit that theory gives for the rate. "
        "Look for a wide valley: there the choice forgives.",
    ),
    "history": Caption(
        "The objective of every trial of the search, and the best so far.",
        "Where the line of the best has become level, more trials bring little.",
    ),
    "knob_importance": Caption(
        "How much of the differences between trials each knob explains.", "Search where the bars are long."
    ),
    "parallel_coordinates": Caption(
        "Every trial as a line through its knobs to its objective.",
        "Where the good lines run together, the knob has a best place; where they spread, it does not matter.",
    ),
    "chain": Caption(
        "Value, local derivative and running product, link by link.",
        "The product at the last link is the derivative of the whole; a local derivative near zero stops the signal.",
    ),
    "graph": Caption(
        "The computation as a graph.",
        "Values go forward, from the inputs to the result. Each edge has its local derivative; products of these flow "
        "back, and where edges meet they are added.",
    ),
    "signals": Caption(
        "The size of the signal, forward and backward, layer by layer.",
        f"{LOG}: a line that falls towards the input is a vanishing gradient, one that rises an exploding one.",
    ),
    "backward_norms": Caption(
        "The norm of the gradient at each layer.", "Bars of one height are a steady signal; a slope is a factor lost."
    ),
    "gradient": Caption("The gradient, variable by variable.", "The longest bar is the direction that matters most."),
    "mixed_partials": Caption(
        "The second partial derivatives.", "Symmetric: the order of two derivatives is the same."
    ),
    "importance": Caption(
        "How much each input matters, the most important first, and which way it works.",
        "Bars to the right raise the prediction, to the left lower it; grey ones do either. Lines are 95 % intervals; "
        "on the right stand the ranks that are possible, and inputs that may be the first are shaded.",
    ),
    "components": Caption(
        "How far the walk is from the minimum along each eigendirection of the Hessian.",
        "Each direction shrinks at a rate of its own, which its eigenvalue decides: dashed is what theory says. The "
        "slowest line is what the walk waits for.",
    ),
    "momentum_map": Caption(
        "How much a step shrinks the distance to the minimum, for every learning rate and momentum.",
        "Darker is faster; beyond the black line, where the rate is 1, the walk runs away. Measured and predicted "
        "should look alike; the star is the best pair.",
    ),
    "dependence": Caption(
        "How the prediction changes with each of the inputs that matter most, the others left as they are.",
        "Bands are 95 % intervals of the change; dots stand at quantiles, so that where they are dense the data is.",
    ),
    "images": Caption(
        "What of each image speaks for the target.", "Red speaks for it, blue against it; grey is the image itself."
    ),
    "importance_map": Caption("The importance of each pixel, over all rows.", "Bright pixels matter."),
    "agreement_of_methods": Caption(
        "The rank correlation of each two methods.", "1: the same order. Near 0: the methods tell different stories."
    ),
    "shares_by_method": Caption("Each input's share by each method.", "A row of one colour: the methods agree on it."),
    "shares_by_row": Caption("Each input's share, row by row.", "Stripes across are inputs that always matter."),
    "deletion": Caption(
        "The prediction as the most important inputs are taken away.",
        "The faster it falls below the line of random order, the better the ranking.",
    ),
    "insertion": Caption(
        "The prediction as the most important inputs are put in.",
        "The faster it rises above the line of random order, the better the ranking.",
    ),
    "randomisation_test": Caption(
        "Likeness of the attribution to its own, as layers are drawn anew.",
        "It should fall to zero: a method that does not look at the weights cannot explain them.",
    ),
    "remove_and_retrain": Caption(
        "The score after training again without the most important inputs.",
        "It should fall faster than with random inputs removed.",
    ),
    "lowest_loss_at_the_tuned_rate": Caption(
        "The lowest loss so far of each optimizer, at its best rate.",
        "Lines are medians over starts, bands their quartiles. Lower and earlier is better; bands that overlap are "
        "no difference.",
    ),
    "lowest_loss_by_learning_rate": Caption(
        "The lowest loss at every learning rate.", "A wide flat valley forgives a rate that is badly chosen."
    ),
    "share_of_walks_that_diverged": Caption("How many walks ran away at each rate.", "0 is none, 1 is all."),
    "wins_of_row_over_column": Caption("How often one optimizer beats another.", "Above one half: the row wins."),
}
NAMED |= {  # of a sweep
    "sweep": Caption(
        "What each job came to, over each knob that was swept.",
        "A dot is a job, a line the best at each value, a star the best of all. Crosses above the dotted line are jobs "
        "that diverged. A dashed line is the largest learning rate that theory calls stable, from the curvature at the "
        "start; a best job at the edge asks for a wider range.",
    ),
    "history": Caption(
        "The trials of the search in their order, and the best so far.",
        "A line that has long been level: more trials bring little.",
    ),
    "knob_importance": Caption(
        "How much of the differences between the trials each knob explains.",
        "By fANOVA (Hutter, Hoos and Leyton-Brown 2014), within the ranges that were searched: a knob of little "
        "importance there may matter elsewhere.",
    ),
    "gradient_and_step": Caption(
        "The norm of the gradient that the optimizer took, and of the step that it made of it.",
        "On a logarithmic axis lines side by side are one rate; where they come apart, the rule or its rate changed.",
    ),
    "successive_gradients": Caption(
        "The cosine between the gradients of two steps.",
        "Near 1 steps go one way, near 0 each is mostly noise, below 0 they bounce from side to side.",
    ),
    "noise_scale": Caption(
        "The gradient noise scale tr Σ / ‖G‖², in rows: of single looks, and over the last of them.",
        "A batch well below it gains from more rows, nearly as much as it grows; one well above it gains nothing.",
    ),
    "stability_ratio": Caption(
        "The largest eigenvalue of the Hessian by what the optimizer can follow: λmax·lr/2 of gradient descent.",
        "Above the dashed line, 1, steps overshoot along the sharpest direction.",
    ),
    "layer_gradients": Caption(
        "The gradient norm of each layer.",
        "Layers that fall away from the others by factors of ten hardly learn; one that jumps is where trouble begins.",
    ),
    "layer_updates": Caption(
        "How much of each layer's weights a step moves, ‖Δ‖/‖w‖.",
        "About a thousandth is usual; a tenth is a rate too large for that layer, a millionth one that stands still.",
    ),
    "parallel_coordinates": Caption(
        "A line for each trial, through its value of every knob.",
        "Where the dark lines meet, good trials agree on the value; where they fan out, the knob matters little.",
    ),
}
KINDS = {
    "Curves": Caption("", f"Each line is one quantity. {LOG}."),
    "Tracks": Caption("", "Each line is one entry, over the steps."),
    "Contours": NAMED["path"],
    "PrincipalPlane": Caption(
        "The walk in the plane of its two principal directions.",
        "The title says how much of the walk lies in this plane; beside it, the loss on the walk and on the plane, and "
        "how far the two are apart.",
    ),
    "Heatmap": Caption("", "Each cell is a number: red above zero, blue below, white zero."),
    "Components": NAMED["components"],
    "Rates": NAMED["momentum_map"],
    "Ranking": Caption("", "Each bar is one entry, to the side to which it works; lines are its interval."),
    "Dependence": Caption("", "Lines are means over the rows, bands their intervals."),
    "Images": Caption("", "Each image is one row of numbers; red above zero, blue below."),
    "Bars": Caption("", "Each bar is one entry; its length is the number."),
    "Spread": Caption("", "Lines are medians, bands go from the lower to the upper quartile."),
    "Multiples": Caption("", "Panels with axes of their own, side by side."),
    "Surface": Caption("", "Filled contours are the values, lines the model at the same levels."),
    "Spectrum": NAMED["spectrum"],
    "Graph": NAMED["graph"],
    "Tangent": NAMED["tangent"],
    "Gradient": NAMED["slices"],
    "Walk": NAMED["walk"],
    "Curvature": NAMED["curvature"],
    "Discs": NAMED["gershgorin"],
    "Deformation": NAMED["deformation"],
}


def caption(picture: Mapping[str, Any]) -> Caption:
    """What to say of a picture as a run has recorded it: its ``name`` and its ``kind``.

    >>> caption({"name": "layer_top", "kind": "Bars"})
    Caption(shows='layer top', reading='Each bar is one entry; its length is the number.')
    """
    name, kind = str(picture.get("name", "")), str(picture.get("kind", ""))
    general = KINDS.get(kind, Caption(""))
    if kind == "PrincipalPlane":
        return general
    found = NAMED.get(name, general)
    return Caption(found.shows or words(name), found.reading)


def words(name: str) -> str:
    """A name as words: ``layer_top`` is "layer top"."""
    return name.replace("_", " ").replace(".", ": ").strip()
