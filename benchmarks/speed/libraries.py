"""Trainings and samplings of other libraries, with networks of as many parameters as ours."""

import numpy as np
from plain import adam, batches, networks, parameters, trainer  # beside this file


def diffusers_training(asked):
    """The simple loss of Ho et al. 2020, algorithm 1, with the U-Net of diffusers."""
    import torch

    torch.set_num_threads(asked["threads"])
    unet, data = diffusers_unet(asked), batches(asked)
    network_of = torch.compile(unet) if asked["compile"] else unet
    optimizer = adam(asked, unet)
    bars = torch.cumprod(1 - torch.linspace(1e-4, 0.02, 1000), 0)

    def work():
        for _ in range(asked["steps"]):
            x = 2 * next(data) - 1
            noise, times = torch.randn_like(x), torch.randint(1000, (len(x),))
            bar = bars[times][:, None, None, None]
            optimizer.zero_grad(set_to_none=True)
            (network_of(bar.sqrt() * x + (1 - bar).sqrt() * noise, times).sample - noise).square().mean().backward()
            optimizer.step()

    return work, {"parameters": parameters(unet)}


def diffusers_unet(asked):
    from diffusers import UNet2DModel

    channels = asked["channels"]
    return UNet2DModel(
        sample_size=28,
        in_channels=1,
        out_channels=1,
        layers_per_block=1,
        block_out_channels=channels,
        down_block_types=("DownBlock2D",) * len(channels),
        up_block_types=("UpBlock2D",) * len(channels),
        add_attention=False,
        norm_num_groups=4,
    )


def diffusers_sampling(asked):
    """The pipeline of DDIM, or of DDPM where that is the sampler."""
    import torch
    from diffusers import DDIMPipeline, DDIMScheduler, DDPMPipeline, DDPMScheduler

    torch.set_num_threads(asked["threads"])
    pipeline, scheduler = (DDPMPipeline, DDPMScheduler) if asked["ancestral"] else (DDIMPipeline, DDIMScheduler)
    unet = diffusers_unet(asked)
    pipeline = pipeline(unet, scheduler(1000))
    pipeline.set_progress_bar_config(disable=True)

    def work():
        pipeline(batch_size=asked["images"], num_inference_steps=asked["evaluations"], output_type="np")

    return work, {"parameters": parameters(unet)}


def normflows_glow(asked):
    """Glow of as many levels, steps and channels, on logits of the pixels."""
    import normflows

    steps = []
    for channels in (8, 4):  # the last level first
        blocks = [
            normflows.flows.GlowBlock(channels, asked["width"], split_mode="channel", scale=True)
            for _ in range(asked["steps_of_level"])
        ]
        steps.append([*blocks, normflows.flows.Squeeze()])
    priors = [normflows.distributions.DiagGaussian(shape, trainable=False) for shape in ((8, 7, 7), (2, 14, 14))]
    return normflows.MultiscaleFlow(priors, steps, [normflows.flows.Merge()], normflows.transforms.Logit(0.05))


def normflows_training(asked):
    import torch

    torch.set_num_threads(asked["threads"])
    model = normflows_glow(asked)

    def loss(x):
        return model.forward_kld((255 * x + torch.rand_like(x)) / 256)

    return trainer(asked, [model], [(adam(asked, model), loss, 1)])


def normflows_sampling(asked):
    import torch

    torch.set_num_threads(asked["threads"])
    model = normflows_glow(asked)
    with torch.no_grad():
        model.log_prob(torch.rand(64, 1, 28, 28), None)  # sets the activation normalisation

    def work():
        with torch.no_grad():
            model.sample(asked["images"])

    return work, {"parameters": parameters(model)}


def zuko_training(asked):
    """Couplings of vectors by rational-quadratic splines, on logits of the pixels."""
    import torch
    import zuko
    from zuko.flows.coupling import GeneralCouplingTransform
    from zuko.transforms import MonotonicRQSTransform

    bins, count = asked["bins"], 28 * 28
    shapes = ((bins,), (bins,), (bins - 1,))
    couplings = [
        GeneralCouplingTransform(
            count,
            mask=torch.arange(count) % 2 == index % 2,
            univariate=MonotonicRQSTransform,
            shapes=shapes,
            hidden_features=(asked["width"],) * asked["depth"],
        )
        for index in range(asked["couplings"])
    ]
    normal = zuko.lazy.UnconditionalDistribution(
        zuko.distributions.DiagNormal, torch.zeros(count), torch.ones(count), buffer=True
    )
    flow = zuko.flows.Flow(couplings, normal)

    def loss(x):
        inner = 0.05 + 0.9 * (255 * x + torch.rand_like(x)).flatten(1) / 256
        slope = (0.9 / (inner * (1 - inner))).log().sum(1)
        return -(flow().log_prob(torch.logit(inner)) + slope).mean()

    return trainer(asked, [flow], [(adam(asked, flow), loss, 1)])


def bernoulli_rbm(asked):
    """scikit-learn's persistent contrastive divergence, on the same binary images."""
    from sklearn.neural_network import BernoulliRBM
    from threadpoolctl import threadpool_limits

    threadpool_limits(asked["threads"])
    with np.load(asked["arrays"]) as stored:
        images = (stored["images"].reshape(len(stored["images"]), -1) / 255).astype(np.float32)
    random = np.random.default_rng(0)
    rbm = BernoulliRBM(asked["hidden"], learning_rate=0.01, batch_size=asked["batch_size"], random_state=0)

    def work():
        for _ in range(asked["steps"]):
            x = images[random.integers(0, len(images), asked["batch_size"])]
            rbm.partial_fit((random.random(x.shape, np.float32) < x).astype(np.float32))

    rbm.partial_fit(images[: asked["batch_size"]])
    trained = (rbm.components_, rbm.intercept_hidden_, rbm.intercept_visible_)
    return work, {"parameters": sum(each.size for each in trained)}


def pythae_wae(asked):
    """pythae's own WAE-MMD with the same networks."""
    from pythae.models import WAE_MMD, WAE_MMD_Config
    from pythae.models.base.base_utils import ModelOutput
    from pythae.models.nn import BaseDecoder, BaseEncoder

    parts = networks(asked)

    class Encoder(BaseEncoder):
        def __init__(self):
            super().__init__()
            self.inner, self.latent_dim = parts["encoder"], asked["latent_dim"]

        def forward(self, x):
            return ModelOutput(embedding=self.inner(x))

    class Decoder(BaseDecoder):
        def __init__(self):
            super().__init__()
            self.inner = parts["decoder"]

        def forward(self, z):
            return ModelOutput(reconstruction=self.inner(z))

    config = WAE_MMD_Config(
        input_dim=(1, 28, 28),
        latent_dim=asked["latent_dim"],
        kernel_choice="imq",
        reg_weight=asked["weight"],
        scales=[0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0],
    )
    model = WAE_MMD(config, Encoder(), Decoder())
    return trainer(asked, [model], [(adam(asked, model), lambda x: model({"data": x}).loss, 1)])
