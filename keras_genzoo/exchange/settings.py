"""The settings of a `UNet2DModel` and of a scheduler of diffusers: what they are here, and those of a model of ours."""

import re

import keras

from keras_genzoo import layers, networks, predictions, samplers, schedules
from keras_genzoo.exchange import weights

# Settings with their defaults, that are read, and those that are understood with some values alone.
READ = {
    "sample_size": None,
    "in_channels": 3,
    "out_channels": 3,
    "freq_shift": 0,
    "flip_sin_to_cos": True,
    "down_block_types": ("DownBlock2D", "AttnDownBlock2D", "AttnDownBlock2D", "AttnDownBlock2D"),
    "up_block_types": ("AttnUpBlock2D", "AttnUpBlock2D", "AttnUpBlock2D", "UpBlock2D"),
    "block_out_channels": (224, 448, 672, 896),
    "layers_per_block": 2,
    "downsample_padding": 1,
    "downsample_type": "conv",
    "upsample_type": "conv",
    "dropout": 0.0,
    "attention_head_dim": 8,
    "norm_num_groups": 32,
    "attn_norm_num_groups": None,
    "norm_eps": 1e-5,
    "resnet_time_scale_shift": "default",
    "add_attention": True,
    "num_class_embeds": None,
    "num_train_timesteps": None,
}
UNDERSTOOD = {
    "center_input_sample": (False,),
    "time_embedding_dim": (None,),
    "time_embedding_type": ("positional",),
    "mid_block_type": ("UNetMidBlock2D",),
    "mid_block_scale_factor": (1,),
    "act_fn": ("silu", "swish"),
    "attention_legacy_order": (False,),
    "class_embed_type": (None,),
    "downsample_padding": (0, 1),
    "resnet_time_scale_shift": ("default", "scale_shift"),
}
BLOCKS = {  # on the way down and up, of each type: whether it has attention, and what changes its sides; None is by a setting
    "down_block_types": {
        "DownBlock2D": (False, "conv"),
        "AttnDownBlock2D": (True, None),
        "ResnetDownsampleBlock2D": (False, "resnet"),
    },
    "up_block_types": {
        "UpBlock2D": (False, "conv"),
        "AttnUpBlock2D": (True, None),
        "ResnetUpsampleBlock2D": (False, "resnet"),
    },
}
SCHEDULER_READ = {
    "num_train_timesteps": 1000,
    "beta_start": 1e-4,
    "beta_end": 0.02,
    "variance_type": "fixed_small",
    "clip_sample": True,
    "prediction_type": "epsilon",
    "timestep_spacing": "leading",
}
SCHEDULER_UNDERSTOOD = {
    "beta_schedule": ("linear",),
    "trained_betas": (None,),
    "thresholding": (False,),
    "clip_sample_range": (1,),
    "steps_offset": (0,),
    "set_alpha_to_one": (True,),
    "rescale_betas_zero_snr": (False,),
    "timestep_spacing": ("leading", "trailing"),
}
UNUSED = "dynamic_thresholding_ratio", "sample_max_value"  # of thresholding, which is not understood
PREDICTIONS = {"epsilon": predictions.Epsilon, "sample": predictions.Image, "v_prediction": predictions.V}
VARIANCES = {"fixed_small": "small", "fixed_small_log": "small", "fixed_large": "large", "learned_range": None}


def _told(config, read, understood, what):
    """The settings that are read, with their defaults; raises one sentence for one that is not understood."""
    for name, value in config.items():
        known = name in read or name in understood or name in UNUSED or name.startswith("_")
        if not known or (name in understood and value not in understood[name]):
            hint = f", expected {' or '.join(map(repr, understood[name]))}" if name in understood else ""
            raise ValueError(f"{name} of {what} is {value!r}, which is not understood here{hint}.")
    return {name: config.get(name, default) for name, default in read.items()}


def network(config, image_shape, timesteps):
    """The U-Net of the settings of a `UNet2DModel`, with weights of its own; `image_shape` None is by the settings."""
    told = _told(config, READ, UNDERSTOOD, "UNet2DModel")
    side, channels, groups = told["sample_size"], told["in_channels"], told["norm_num_groups"]
    if image_shape is None:
        if side is None:
            raise ValueError("sample_size of UNet2DModel is None; say the size by image_shape=.")
        image_shape = (*(side if isinstance(side, (list, tuple)) else (side, side)), channels)
    if told["out_channels"] not in (channels, 2 * channels):
        raise ValueError(f"out_channels of UNet2DModel is {told['out_channels']}, expected {channels} or {2 * channels}.")
    attention, kind = _levels(told)
    scale_shift, of_middle = told["resnet_time_scale_shift"] == "scale_shift", told["attn_norm_num_groups"]
    if told["add_attention"] and of_middle not in ((groups,) if scale_shift else (groups, None)):
        raise ValueError(f"attn_norm_num_groups of UNet2DModel is {of_middle}, expected {groups}, as of the other layers.")
    widths = told["block_out_channels"]
    return networks.unet(
        image_shape,
        width=widths[0],
        multipliers=tuple(each / widths[0] for each in widths),
        blocks=told["layers_per_block"],
        attention=attention,
        groups=groups,
        dropout=told["dropout"],
        num_classes=told["num_class_embeds"],
        kind=kind,
        scale_shift=scale_shift,
        head_width=told["attention_head_dim"],
        middle_attention=bool(told["add_attention"]),
        time_embedding={
            "scale": float(timesteps),
            "offset": -1.0,  # steps are counted from 0
            "shift": float(told["freq_shift"]),
            "cosines_first": told["flip_sin_to_cos"],
        },
        group_width=1,
        epsilon=told["norm_eps"],
        centred=told["downsample_padding"] == 1,
        learned_variance=told["out_channels"] == 2 * channels,
    )


def _levels(told):
    """The levels with attention, and the kind of the U-Net, by the types of its blocks."""
    ways, attended = set(), []
    for name, way in (("down_block_types", "downsample_type"), ("up_block_types", "upsample_type")):
        unknown = [each for each in told[name] if each not in BLOCKS[name]]
        if unknown:
            raise ValueError(f"{name} of UNet2DModel holds {unknown[0]!r}, which is not understood here.")
        blocks = [BLOCKS[name][each] for each in told[name]]
        ways |= {by or told[way] for _, by in blocks[:-1]}  # the last changes no sides
        attended.append([has for has, _ in (blocks if name == "down_block_types" else blocks[::-1])])
    if attended[0] != attended[1]:
        raise ValueError("up_block_types of UNet2DModel has attention at other levels than down_block_types, expected the same.")
    if ways not in (set(), {"conv"}, {"resnet"}):
        raise ValueError(
            f"blocks of UNet2DModel change sides by {' and '.join(sorted(ways))}, expected 'conv' or 'resnet' alone."
        )
    return tuple(level for level, has in enumerate(attended[0]) if has), "adm" if ways == {"resnet"} else "ddpm"


def schedule(config):
    """Arguments of `Diffusion` for the settings of a scheduler."""
    what = config.get("_class_name")
    if what not in ("DDPMScheduler", "DDIMScheduler"):
        raise ValueError(f"the scheduler is {what}, expected DDPMScheduler or DDIMScheduler.")
    told = _told(config, SCHEDULER_READ, SCHEDULER_UNDERSTOOD, what)
    for name, known in (("prediction_type", PREDICTIONS), ("variance_type", VARIANCES)):
        if told[name] not in known:
            raise ValueError(f"{name} of {what} is {told[name]!r}, which is not understood here, expected {' or '.join(known)}.")
    timesteps, ancestral = told["num_train_timesteps"], what == "DDPMScheduler"
    return {
        "schedule": schedules.Linear(told["beta_start"], told["beta_end"], timesteps),
        "prediction": PREDICTIONS[told["prediction_type"]](),
        "timesteps": timesteps,
        "sampler": samplers.Ancestral(VARIANCES[told["variance_type"]]) if ancestral else samplers.DDIM(),
        "steps": timesteps if ancestral else 50,
        "spacing": told["timestep_spacing"],
        "clip": bool(told["clip_sample"]),
    }


REFUSED = {  # layers that networks of diffusers do not have
    "pad": "sides that do not halve at every level",
    "patches": "patch=2",
    "how": "augment='told'",
    "span_1": "spans=True",
    "middle_1_rescaled": "kind='ddpm++'",
}


def of_network(model):
    """The settings of the `UNet2DModel` that a model's network of `networks.unet` is."""
    known = weights.layers_of(model.network)
    for name, what in REFUSED.items():
        if name in known:
            raise ValueError(f"diffusers has no network with {what}; build it without.")
    levels = len([name for name in known if re.fullmatch(r"down\d+_0_conv1", name)])
    if not levels or "first" not in known:
        raise ValueError("diffusers has no network like this one, expected one of networks.unet.")
    residual, attended = "down0_halve_conv1" in known, [f"down{level}_0_attention_heads" in known for level in range(levels)]
    types = {name: _types(blocks, attended, residual) for name, blocks in BLOCKS.items()}
    types["up_block_types"].reverse()
    groups, epsilon = _one(known, "groups"), _one(known, "epsilon")
    scale_shift = known["down0_0_time"].units == 2 * known["down0_0_conv1"].filters
    dropout, of_class, time = known.get("down0_0_dropout"), known.get("class"), _time_embedding(known, model.timesteps)
    return {
        "sample_size": list(model.image_shape[:2]),
        "in_channels": model.image_shape[-1],
        "out_channels": known["last"].filters,
        "block_out_channels": [known[f"down{level}_0_conv1"].filters for level in range(levels)],
        "layers_per_block": len([name for name in known if re.fullmatch(r"down0_\d+_conv1", name)]),
        "downsample_padding": int("down0_halve_padded" in known),
        "downsample_type": "resnet" if residual else "conv",
        "upsample_type": "resnet" if residual else "conv",
        "dropout": 0.0 if dropout is None else dropout.rate,
        "attention_head_dim": _head_width(known),
        "norm_num_groups": groups,
        "attn_norm_num_groups": groups if scale_shift else None,
        "norm_eps": epsilon,
        "resnet_time_scale_shift": "scale_shift" if scale_shift else "default",
        "add_attention": "middle_attention_heads" in known,
        "num_class_embeds": None if of_class is None else of_class.kernel.shape[0],
        **time,
        **types,
    }


def _types(blocks, attended, residual):
    """The types of blocks of all levels, by whether they have attention."""
    kinds = {has: name for name, (has, way) in blocks.items() if way in (None, "resnet" if residual else "conv")}
    return [kinds[has] for has in attended]


def _one(known, name):
    """What all normalisations of a network have in common."""
    found = {getattr(layer, name) for layer in known.values() if isinstance(layer, keras.layers.GroupNormalization)}
    if len(found) > 1:
        told = ", ".join(map(str, sorted(found)))
        raise ValueError(f"{name} of normalisations are {told}, and diffusers has one; build the network with fewer groups.")
    return found.pop()


def _head_width(known):
    """The channels of a head, or None for one head everywhere."""
    attentions = [layer for layer in known.values() if isinstance(layer, layers.SelfAttention)]
    if {layer.heads for layer in attentions} <= {1}:
        return None
    widths = {layer.size for layer in attentions}
    if len(widths) > 1:
        raise ValueError(
            f"heads have {sorted(widths)} channels, and diffusers has one width; build the network with head_width=."
        )
    return widths.pop()


def _time_embedding(known, timesteps):
    told = known["time_embedding"]
    if told.scale != timesteps or told.shift not in (0, 1):
        raise ValueError(
            f"the network is told {told.scale:g} times the time, with shift {told.shift:g}, and timesteps is {timesteps}, "
            f"expected equal numbers, and a shift of 0 or 1."
        )
    return {"freq_shift": int(told.shift), "flip_sin_to_cos": bool(told.cosines_first)}


def of_schedule(model):
    """The settings of the `DDPMScheduler` that a model was trained with."""
    schedule, names = model.schedule, {kind: name for name, kind in PREDICTIONS.items()}
    if type(schedule) is not schedules.Linear or model.timesteps != schedule.timesteps or type(model.prediction) not in names:
        raise ValueError(
            f"diffusers has no DDPMScheduler of the schedule {type(schedule).__name__}, the prediction "
            f"{type(model.prediction).__name__} and timesteps={model.timesteps}; expected Linear with its own timesteps, and "
            f"Epsilon, Image or V."
        )
    variance = getattr(model.sampler, "variance", None)
    variance = variance if model.learns_variance else variance or "small"
    return {
        "num_train_timesteps": schedule.timesteps,
        "beta_start": schedule.beta_start,
        "beta_end": schedule.beta_end,
        "beta_schedule": "linear",
        "variance_type": next(name for name, each in VARIANCES.items() if each == variance),
        "clip_sample": bool(model.clip),
        "prediction_type": names[type(model.prediction)],
        "timestep_spacing": "leading" if model.spacing == "leading" else "trailing",
    }
