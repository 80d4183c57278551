"""Networks of PyTorch from what `described` tells of those of Keras."""


def network(description, arrays):
    """The module that a description tells, with its weights."""
    import torch
    from torch import nn
    from torch.nn import functional

    activations = {
        "linear": lambda x: x,
        "relu": torch.relu,
        "leaky_relu": lambda x: functional.leaky_relu(x, 0.2),
        "tanh": torch.tanh,
        "sigmoid": torch.sigmoid,
        "silu": functional.silu,
    }

    def layer(each):
        kind, given = each["kind"], [torch.from_numpy(a.astype("float32")) for a in arrays.get(each["name"], [])]
        if kind == "Dense":
            made = nn.Linear(given[0].shape[0], each["units"], bias=each["bias"])
            given[0] = given[0].T
        elif kind in ("Conv2D", "Conv2DTranspose"):
            made, given = convolution(each, given)
        elif kind == "BatchNormalization":
            made = nn.BatchNorm1d if each["flat"] else nn.BatchNorm2d
            made = made(each["size"], each["epsilon"], each["momentum"])
            for name, value in zip(("weight", "bias", "running_mean", "running_var"), given, strict=True):
                getattr(made, name).data.copy_(value)
            return made
        elif kind == "LayerNormalization":
            made = nn.LayerNorm(each["size"], each["epsilon"])
        else:
            return None
        for name, value in zip(("weight", "bias"), given, strict=False):
            getattr(made, name).data.copy_(value)
        return made

    def convolution(each, given):
        (top, bottom), (left, right) = each["padding"]
        equal = top == bottom and left == right
        sizes = (each["channels"], each["filters"], each["kernel"], each["strides"])
        if each["kind"] == "Conv2DTranspose":
            if not equal:
                raise ValueError("a transposed convolution with unequal padding has no peer")
            return nn.ConvTranspose2d(*sizes, padding=(top, left), bias=each["bias"]), given
        made = nn.Conv2d(*sizes, padding=(top, left) if equal else 0, bias=each["bias"])
        return (made if equal else Padded(made, (left, right, top, bottom))), given

    class Padded(nn.Module):
        def __init__(self, inner, sides):
            super().__init__()
            self.inner, self.sides = inner, sides

        weight = property(lambda self: self.inner.weight)
        bias = property(lambda self: self.inner.bias)

        def forward(self, x):
            return self.inner(functional.pad(x, self.sides))

    def apply(each, module, inputs):
        kind, x = each["kind"], inputs[0] if inputs else None
        if module is not None:
            return activations[each.get("activation", "linear")](module(x))
        if kind == "Activation":
            return activations[each["activation"]](x)
        if kind == "Flatten":
            return x.flatten(1)
        if kind == "Reshape":
            return x.reshape(-1, *each["shape"])
        if kind == "Cropping2D":
            (top, bottom), (left, right) = each["cropping"]
            return x[:, :, top : x.shape[2] - bottom, left : x.shape[3] - right]
        if kind == "UpSampling2D":
            more = {"align_corners": False} if each["interpolation"] == "bilinear" else {}
            return functional.interpolate(x, scale_factor=2, mode=each["interpolation"], **more)
        if kind == "Add":
            return sum(inputs)
        return each["limit"] * torch.tanh(x / each["limit"])

    class Network(nn.Module):
        def __init__(self):
            super().__init__()
            self.modules_of = nn.ModuleDict()
            for each in description["operations"]:
                if (made := layer(each)) is not None:
                    self.modules_of[each["name"]] = made

        def forward(self, *inputs):
            known = dict(zip(description["inputs"], inputs, strict=True))
            for each in description["operations"]:
                if each["name"] not in known:
                    module = self.modules_of[each["name"]] if each["name"] in self.modules_of else None
                    known[each["name"]] = apply(each, module, [known[name] for name in each["inputs"]])
            outputs = [known[name] for name in description["outputs"]]
            return outputs[0] if len(outputs) == 1 else tuple(outputs)

    return Network()
