"""Trainings in plain PyTorch, of networks that are rebuilt from ours with the very weights."""

import numpy as np


def networks(asked):
    """The networks of a work by name, proven equal to those that they were described from, in training mode."""
    import torch
    from rebuilt import network  # beside this file

    torch.set_num_threads(asked["threads"])
    found = {}
    with np.load(asked["arrays"]) as stored:
        for name, description in asked["networks"].items():
            arrays = {}
            for key in (key for key in stored.files if key.startswith(f"{name}:weights:")):
                arrays.setdefault(key.split(":", 2)[2].rpartition("/")[0], []).append(stored[key])
            found[name] = network(description, arrays).eval()
            with torch.no_grad():
                outputs = found[name](torch.from_numpy(stored[f"{name}:input"]))
            outputs = outputs if isinstance(outputs, tuple) else (outputs,)
            for index, output in enumerate(outputs):
                np.testing.assert_allclose(output.numpy(), stored[f"{name}:output:{index}"], rtol=1e-3, atol=1e-4)
    return {name: each.train() for name, each in found.items()}


def parameters(*modules):
    """How many numbers of modules are trained."""
    return sum(each.numel() for module in modules for each in module.parameters() if each.requires_grad)


def batches(asked):
    """Endless batches of shuffled images in [0, 1], from levels in memory."""
    import torch

    with np.load(asked["arrays"]) as stored:
        levels = torch.from_numpy(stored["images"]).permute(0, 3, 1, 2).contiguous()
    random = torch.Generator().manual_seed(0)
    while True:
        for rows in torch.randperm(len(levels), generator=random).split(asked["batch_size"]):
            if len(rows) == asked["batch_size"]:
                yield levels[rows].float() / 255


def trainer(asked, modules, objectives):
    """So many steps as a function, and what is told of them: each objective is an optimizer, a function of a batch to a loss, and
    how often it takes a turn in a step."""
    import torch

    torch.set_num_threads(asked["threads"])
    data = batches(asked)
    compiled = (lambda f: torch.compile(f)) if asked["compile"] else (lambda f: f)
    turns = [(each, loss if hasattr(loss, "eager") else compiled(loss), times) for each, loss, times in objectives]

    def work():
        for _ in range(asked["steps"]):
            for optimizer, loss, times in turns:
                for _ in range(times):
                    optimizer.zero_grad(set_to_none=True)
                    loss(next(data)).backward()
                    optimizer.step()

    return work, {"parameters": parameters(*modules)}


def adam(asked, *modules):
    import torch

    parameters = [p for module in modules for p in module.parameters()]
    return torch.optim.Adam(parameters, asked["learning_rate"], (asked["beta_1"], asked["beta_2"]), eps=1e-7)


def autoencoder(asked):
    parts = networks(asked)
    encoder, decoder = parts["encoder"], parts["decoder"]
    loss = lambda x: (decoder(encoder(x)) - x).square().sum((1, 2, 3)).mean()  # noqa: E731
    return trainer(asked, parts.values(), [(adam(asked, encoder, decoder), loss, 1)])


def vae(asked):
    """The sigma-VAE: the Gaussian likelihood whose variance is the batch's mean squared error."""
    import torch

    parts = networks(asked)
    encoder, decoder = parts["encoder"], parts["decoder"]

    def loss(x):
        mu, log_variance = encoder(x)
        mean = decoder(mu + (0.5 * log_variance).exp() * torch.randn_like(mu))
        log_scale = 0.5 * (mean - x).detach().square().mean().log()
        error = 0.5 * ((mean - x) * (-log_scale).exp()).square() + log_scale
        divergence = 0.5 * (mu.square() + log_variance.exp() - 1 - log_variance).sum(1)
        return (error.sum((1, 2, 3)) + divergence).mean()

    return trainer(asked, parts.values(), [(adam(asked, encoder, decoder), loss, 1)])


def wae_mmd(asked):
    """The kernels of Tolstikhin et al. 2018, section 4."""
    import torch

    parts = networks(asked)
    encoder, decoder = parts["encoder"], parts["decoder"]

    def kernel(x, y):
        squares = torch.cdist(x, y).square()
        return sum(c / (c + squares) for c in (2.0 * x.shape[1] * s for s in (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)))

    def within(z):
        values = kernel(z, z)
        return (values.sum() - values.diagonal().sum()) / (len(z) * (len(z) - 1))

    def loss(x):
        z = encoder(x)
        draws = torch.randn_like(z)
        mmd = within(z) + within(draws) - 2 * kernel(z, draws).mean()
        return (decoder(z) - x).square().sum((1, 2, 3)).mean() + asked["weight"] * mmd

    return trainer(asked, parts.values(), [(adam(asked, encoder, decoder), loss, 1)])


def gan(asked):
    """The non-saturating game, a step of the critic and one of the generator (Goodfellow et al. 2014, algorithm 1)."""
    import torch
    from torch.nn.functional import softplus

    parts = networks(asked)
    generator, critic = parts["generator"], parts["critic"]
    noise = lambda x: torch.randn(len(x), asked["latent_dim"])  # noqa: E731

    def critic_loss(x):
        return softplus(-critic(2 * x - 1)).mean() + softplus(critic(generator(noise(x)).detach())).mean()

    return trainer(
        asked,
        parts.values(),
        [
            (adam(asked, critic), critic_loss, 1),
            (adam(asked, generator), lambda x: softplus(-critic(generator(noise(x)))).mean(), 1),
        ],
    )


def wgan_gp(asked):
    """Gulrajani et al. 2017, algorithm 1. PyTorch does not compile second derivatives, so the critic's loss stays eager."""
    import torch

    parts = networks(asked)
    generator, critic = parts["generator"], parts["critic"]
    noise = lambda x: torch.randn(len(x), asked["latent_dim"])  # noqa: E731

    def critic_loss(x):
        real, fake = 2 * x - 1, generator(noise(x)).detach()
        between = fake + torch.rand(len(x), 1, 1, 1) * (real - fake)
        between.requires_grad_(True)
        (slopes,) = torch.autograd.grad(critic(between).sum(), between, create_graph=True)
        penalty = (slopes.flatten(1).norm(dim=1) - 1).square().mean()
        return critic(fake).mean() - critic(real).mean() + asked["penalty_weight"] * penalty

    critic_loss.eager = True
    return trainer(
        asked,
        parts.values(),
        [(adam(asked, critic), critic_loss, 5), (adam(asked, generator), lambda x: -critic(generator(noise(x))).mean(), 1)],
    )


def ebm(asked):
    """Short runs of Langevin dynamics from a replay buffer (Du and Mordatch 2019, algorithm 1)."""
    import torch

    energy = networks(asked)["energy"]
    optimizer, data = adam(asked, energy), batches(asked)
    buffer = torch.rand(asked["buffer_size"], 1, 28, 28) * 2 - 1
    slope_of = lambda x: torch.autograd.grad(energy(x).sum(), x)[0]  # noqa: E731
    loss_of = lambda real, fake: (  # noqa: E731
        (e := energy(real)).mean() - (f := energy(fake)).mean() + asked["energy_weight"] * (e.square() + f.square()).mean()
    )
    if asked["compile"]:
        energy.compile()

    def work():
        for _ in range(asked["steps"]):
            real = 2 * next(data) - 1
            real = real + asked["data_noise"] * torch.randn_like(real)
            rows = torch.randint(len(buffer), (len(real),))
            x = buffer[rows]
            fresh = torch.rand(len(x)) < asked["restart"]
            x[fresh] = torch.rand_like(x[fresh]) * 2 - 1
            for _ in range(asked["chain_steps"]):
                x.requires_grad_(True)
                move = (asked["step_size"] * slope_of(x)).clamp(-asked["clip"], asked["clip"])
                x = (x.detach() - move + asked["noise"] * torch.randn_like(x)).clamp(-1, 1)
            buffer[rows] = x.detach()
            optimizer.zero_grad(set_to_none=True)
            loss_of(real, x.detach()).backward()
            torch.nn.utils.clip_grad_norm_(energy.parameters(), asked["gradient_norm"])
            optimizer.step()

    return work, {"parameters": parameters(energy)}
