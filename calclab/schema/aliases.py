"""What others call what is here: names of PyTorch, scikit-learn, Keras and the lecture room, each with the lab's own.

For messages alone: none of these is taken in the place of a name, each is answered by the line to type.
"""

from __future__ import annotations

# A name that is no knob: the knob; several, where a list of as many values is given; or a whole word
KNOBS: dict[str, str | tuple[str, ...]] = {
    **dict.fromkeys(("learning_rate", "lrate", "eta", "alpha", "step_size", "stepsize", "rate", "η", "α", "γ"), "lr"),
    **dict.fromkeys(("wd", "weight_decay", "l2", "decay"), "optimizer.weight_decay"),
    **dict.fromkeys(("mu", "beta", "mom", "β", "μ"), "optimizer.momentum"),
    "betas": ("optimizer.beta1", "optimizer.beta2"),
    **dict.fromkeys(("epsilon", "eps"), "optimizer.eps"),
    **dict.fromkeys(("batch_size", "batchsize", "bs", "minibatch", "mini_batch"), "batch"),
    **dict.fromkeys(
        ("n_steps", "num_steps", "nsteps", "max_steps", "iterations", "iters", "iteration", "n_iter", "num_iter",
         "niter", "max_iter", "maxiter", "max_iterations", "T"), "steps"),
    **dict.fromkeys(("n_epochs", "num_epochs", "nb_epochs", "max_epochs"), "epochs"),
    **dict.fromkeys(("tolerance", "gtol", "ftol", "atol", "rtol", "threshold_gradient"), "tol"),
    **dict.fromkeys(("random_state", "random_seed", "manual_seed", "rng"), "seed"),
    **dict.fromkeys(("precision", "type", "float"), "dtype"),
    **dict.fromkeys(("output", "out", "outdir", "out_dir", "output_dir", "logdir", "log_dir", "save_dir", "results"),
                    "outputs"),
    **dict.fromkeys(("plot", "plots", "pictures", "show", "draw", "viz", "plotting"), "figures"),
    **dict.fromkeys(("force", "overwrite", "again", "no_cache"), "rerun"),
    **dict.fromkeys(("gpu", "use_cuda", "cuda"), "device=cuda"),
    "cpu": "device=cpu",
    **dict.fromkeys(("model", "net", "arch", "architecture", "module"), "network"),
    **dict.fromkeys(("dataset", "datasets"), "data"),
    **dict.fromkeys(("func", "fn", "f", "objective", "fun"), "function"),
    **dict.fromkeys(("optim", "opt", "optimiser", "algorithm", "algo", "solver"), "optimizer"),
    **dict.fromkeys(("scheduler", "lr_scheduler", "lr_schedule"), "schedule"),
    **dict.fromkeys(("linesearch", "search"), "line_search"),
    **dict.fromkeys(("study", "exp", "config", "config_name", "config_file", "yaml"), "experiment"),
    **dict.fromkeys(("question", "task", "mode", "command"), "topic"),
    **dict.fromkeys(("expr", "expression", "formula", "equation"), "function.expr"),
    **dict.fromkeys(("at", "x0", "start", "x", "point", "initial", "start_at", "x_start", "theta0"), "function.at"),
    **dict.fromkeys(("dim", "dimension", "dims", "ndim", "d"), "function.n"),
    "links": "function.links",
    **dict.fromkeys(("loss", "criterion", "loss_fn"), "network.loss"),
    **dict.fromkeys(("hidden", "hidden_size", "hidden_dim", "hidden_units", "units", "n_hidden"), "network.width"),
    **dict.fromkeys(("n_layers", "num_layers", "hidden_layers", "nlayers"), "network.depth"),
    **dict.fromkeys(("activation", "act", "nonlinearity"), "network.activation"),
    **dict.fromkeys(("weights", "checkpoint", "ckpt", "state_dict"), "network.weights"),
    **dict.fromkeys(("csv", "file", "path", "data_path", "table", "filename"), "data.path"),
    **dict.fromkeys(("test_size", "validation_split", "val_split", "holdout", "held_out"), "data.held_out"),
    **dict.fromkeys(("normalize", "normalise", "scale", "standardise"), "data.standardize"),
    **dict.fromkeys(("label", "y", "target_column", "y_col"), "data.target"),
    **dict.fromkeys(("columns", "x_cols", "inputs"), "data.features"),
    **dict.fromkeys(("k", "num_eigenvalues", "n_eigs", "eigs"), "top"),
}  # fmt: skip

# A knob of another topic, or of none, and the topic's own in its place
OF_TOPICS: dict[str, dict[str, str]] = {
    "comparison": {
        **dict.fromkeys(("steps", "epochs", "iterations", "max_iter", "evaluations", "evals"), "budget"),
        **dict.fromkeys(("lr", "lrs", "learning_rates"), "rates"),
        **dict.fromkeys(("runs", "repeats", "starts", "n_seeds"), "seeds"),
    },
    "hessian": dict.fromkeys(("k", "n", "eigenvalues", "n_eigenvalues"), "top"),
    "jacobian": {"wrt": "by", "at": "points", "mode": "way"},
    "importance": dict.fromkeys(("methods", "attribution", "algorithm"), "method"),
    "derivative": dict.fromkeys(("var", "wrt", "by"), "variable"),
}

# The last part of a dotted name, in its group
WITHIN: dict[str, dict[str, str]] = {
    "network": {
        **dict.fromkeys(("hidden", "hidden_size", "hidden_dim", "hidden_units", "units", "size", "d_model"), "width"),
        **dict.fromkeys(("layers", "n_layers", "num_layers", "hidden_layers"), "depth"),
        **dict.fromkeys(("act", "nonlinearity"), "activation"),
        **dict.fromkeys(("criterion", "loss_fn"), "loss"),
        **dict.fromkeys(("checkpoint", "ckpt", "path", "state_dict"), "weights"),
        **dict.fromkeys(("n_heads", "nhead", "num_heads"), "heads"),
    },
    "data": {
        **dict.fromkeys(("file", "csv", "filename", "root", "dir"), "path"),
        **dict.fromkeys(("label", "y", "column", "label_column"), "target"),
        **dict.fromkeys(("columns", "x", "X"), "features"),
        **dict.fromkeys(("test_size", "val_split", "validation_split", "test"), "held_out"),
        **dict.fromkeys(("normalize", "normalise", "scale", "standardise"), "standardize"),
        **dict.fromkeys(("sep", "delimiter"), "separator"),
        **dict.fromkeys(("n", "n_samples", "size", "limit"), "rows"),
    },
    "optimizer": {
        **dict.fromkeys(("mu", "beta", "rho"), "momentum"),
        **dict.fromkeys(("wd", "l2", "decay"), "weight_decay"),
        **dict.fromkeys(("epsilon",), "eps"),
        **dict.fromkeys(("b1", "beta_1"), "beta1"),
        **dict.fromkeys(("b2", "beta_2"), "beta2"),
        **dict.fromkeys(("history_size", "m"), "history"),
    },
    "schedule": {
        **dict.fromkeys(("gamma", "decay"), "factor"),
        **dict.fromkeys(("step", "step_size", "period"), "every"),
    },
    "function": {
        **dict.fromkeys(("formula", "expression", "f"), "expr"),
        **dict.fromkeys(("x0", "start", "point", "x", "init"), "at"),
        **dict.fromkeys(("dim", "dimension", "d"), "n"),
        **dict.fromkeys(("vars", "variable", "names"), "variables"),
        **dict.fromkeys(("bounds", "range", "limits"), "domain"),
    },
}

# The options of groups; written without capitals, - and _
OPTIONS: dict[str, dict[str, str]] = {
    "topic": {
        **dict.fromkeys(("gradient", "grad", "partials", "partialderivative", "gradients"), "partial"),
        **dict.fromkeys(("diff", "differentiate", "derive", "slope", "tangent", "d"), "derivative"),
        **dict.fromkeys(("train", "training", "gd", "gradientdescent", "optimize", "optimise", "minimize", "fit", "sgd",
                         "optimization"), "descent"),
        **dict.fromkeys(("curvature", "spectrum", "eigenvalues", "secondderivative", "sharpness"), "hessian"),
        **dict.fromkeys(("backprop", "backpropagation", "chainrule", "backward", "composition"), "chain"),
        **dict.fromkeys(("shap", "saliency", "attribution", "attributions", "features", "featureimportance", "captum",
                         "explain", "interpret", "ig"), "importance"),
        **dict.fromkeys(("compare", "benchmark", "optimizers"), "comparison"),
        **dict.fromkeys(("jac", "jacobi", "sensitivity"), "jacobian"),
    },
    "optimizer": {
        **dict.fromkeys(("sgd", "gradientdescent", "steepestdescent", "batchgd"), "gd"),
        **dict.fromkeys(("heavyball", "polyak", "sgdmomentum"), "momentum"),
        **dict.fromkeys(("nag", "nesterovmomentum"), "nesterov"),
        **dict.fromkeys(("bfgs", "quasinewton"), "lbfgs"),
        **dict.fromkeys(("ngd", "naturalgradientdescent"), "natural_gradient"),
        **dict.fromkeys(("levenbergmarquardt", "lm"), "gauss_newton"),
    },
    "network": {
        **dict.fromkeys(("nn", "net", "fc", "ffn", "dense", "feedforward", "perceptron", "fullyconnected"), "mlp"),
        **dict.fromkeys(("conv", "convnet", "lenet", "vgg"), "cnn"),
        **dict.fromkeys(("resnet18", "resnet34", "resnet50", "resnet20", "resnet101"), "resnet"),
        **dict.fromkeys(("gpt", "gpt2", "bert", "vit", "attention", "llama"), "transformer"),
        **dict.fromkeys(("logistic", "regression", "linearregression", "logisticregression", "softmax"), "linear"),
    },
    "data": {
        **dict.fromkeys(("mnist", "fashionmnist", "cifar", "cifar10", "cifar100", "imagenet", "usps"), "digits"),
        **dict.fromkeys(("boston", "california", "housing", "bostonhousing", "californiahousing"), "diabetes"),
        **dict.fromkeys(("cancer", "breastcancerwisconsin", "wdbc"), "breast_cancer"),
        **dict.fromkeys(("csv", "parquet", "dataframe", "pandas"), "table"),
        **dict.fromkeys(("npz", "npy", "numpy", "tensors", "pt"), "arrays"),
        **dict.fromkeys(("images", "imagefolder"), "folder"),
        **dict.fromkeys(("gaussian", "gaussians", "clusters", "makeblobs"), "blobs"),
        **dict.fromkeys(("makemoons", "twomoons"), "moons"),
        **dict.fromkeys(("spiral", "twospirals"), "spirals"),
    },
    "function": {
        **dict.fromkeys(("banana",), "rosenbrock"),
        **dict.fromkeys(("parabola", "paraboloid"), "bowl"),
        **dict.fromkeys(("camel", "sixhumpcamelback"), "six_hump_camel"),
    },
    "schedule": {
        **dict.fromkeys(("cosineannealinglr", "cosineannealing"), "cosine"),
        **dict.fromkeys(("steplr", "multisteplr"), "step"),
        **dict.fromkeys(("exponentiallr", "exp"), "exponential"),
        **dict.fromkeys(("linearlr",), "linear"),
        **dict.fromkeys(("none", "constantlr"), "constant"),
    },
    "line_search": {**dict.fromkeys(("backtracking",), "armijo"), **dict.fromkeys(("strongwolfe",), "wolfe")},
    "law": {
        **dict.fromkeys(("implicitgradientregularization", "implicitregularization", "igr"), "implicit_regularisation"),
        **dict.fromkeys(("ridgeless", "leastsquares", "interpolation"), "double_descent"),
        **dict.fromkeys(("shatteredgradients", "signalpropagation", "meanfield"), "propagation"),
        **dict.fromkeys(("balancedness", "conservation"), "imbalance"),
        **dict.fromkeys(("momentum", "heavyball"), "momentum_rate"),
    },
    "experiment": {},
}  # fmt: skip

# What a knob with choices, or with methods by name, may be; written in the same way
VALUES: dict[str, str] = {
    **dict.fromkeys(("crossentropyloss", "ce", "xent", "nll", "nllloss", "softmaxcrossentropy"), "cross_entropy"),
    **dict.fromkeys(("mseloss", "l2loss", "meansquarederror", "squarederror", "squared"), "mse"),
    **dict.fromkeys(("l1loss", "l1", "meanabsoluteerror"), "mae"),
    **dict.fromkeys(("huberloss", "smoothl1loss", "smoothl1"), "huber"),
    **dict.fromkeys(("bceloss", "bcewithlogitsloss", "binarycrossentropy"), "bce"),
    **dict.fromkeys(("swish",), "silu"),
    **dict.fromkeys(("logistic",), "sigmoid"),
    **dict.fromkeys(("linear", "none"), "identity"),
    **dict.fromkeys(("float", "single", "fp32", "32", "f32", "half", "float16", "fp16", "bfloat16", "bf16"), "float32"),
    **dict.fromkeys(("double", "fp64", "64", "f64"), "float64"),
    **dict.fromkeys(("gpu", "nvidia"), "cuda"),
    **dict.fromkeys(("metal", "apple"), "mps"),
    **dict.fromkeys(("ggn", "gn"), "gauss_newton"),
    **dict.fromkeys(("ig",), "integrated_gradients"),
    **dict.fromkeys(("shap", "shapleyvalues", "kernelshap"), "shapley"),
    **dict.fromkeys(("saliency", "grad", "vanillagradient"), "gradient"),
    **dict.fromkeys(("inputxgradient", "gradxinput", "gradientxinput", "gradienttimesinput"), "gradient_x_input"),
    **dict.fromkeys(("permutationimportance", "permute"), "permutation"),
    **dict.fromkeys(("featureablation",), "ablation"),
    **dict.fromkeys(("grad_cam", "gradcam++"), "gradcam"),
    **dict.fromkeys(("fwd", "jvp", "forwardmode"), "forward"),
    **dict.fromkeys(("rev", "vjp", "backward", "reversemode"), "reverse"),
    **dict.fromkeys(("theta", "weights", "params"), "parameters"),
    **dict.fromkeys(("x", "inputs"), "input"),
    **dict.fromkeys(("impute", "fill"), "mean"),
    **dict.fromkeys(("grayscale", "gray", "greyscale"), "grey"),
}

# What stands in the place of a command
COMMANDS: dict[str, str] = {
    **dict.fromkeys(("list", "ls", "history", "archive", "prune"), "runs"),
    **dict.fromkeys(("show", "open", "cat", "read", "view"), "load"),
    **dict.fromkeys(("diff", "vs"), "compare"),
    **dict.fromkeys(("html", "pdf", "summary"), "report"),
    **dict.fromkeys(("reproduce", "repeat", "replay", "check", "verify"), "rerun"),
    **dict.fromkeys(("studies", "examples"), "gallery"),
    **dict.fromkeys(("usage", "man", "?"), "help"),
    **dict.fromkeys(("v",), "version"),
}


def plain(name: str) -> str:
    """A name as it is looked up: without capitals, - and _, and without the module that it stands in."""
    return name.rpartition(".")[2].casefold().replace("_", "").replace("-", "").replace(" ", "")
