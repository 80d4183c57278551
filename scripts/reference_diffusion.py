"""Writes tests/data/diffusion_reference.json: what the schedulers of diffusers 0.42.1 make of fixed inputs.

It needs PyTorch, so it runs in an environment of its own:

    python3 -m venv ~/reference-venv && ~/reference-venv/bin/pip install torch==2.13.0 diffusers==0.42.1
    ~/reference-venv/bin/python scripts/reference_diffusion.py
"""

import json
from pathlib import Path

import numpy as np
import torch
from diffusers import DDIMScheduler, DPMSolverMultistepScheduler, UniPCMultistepScheduler

OUT = Path(__file__).parents[1] / "tests" / "data" / "diffusion_reference.json"
STEPS = 10
BETAS = {"beta_start": 1e-4, "beta_end": 0.02, "beta_schedule": "linear", "timestep_spacing": "trailing"}


def epsilon(x, timestep):
    """A stand-in for a network: of x_t and of the number of the timestep, 0 to 999."""
    return 0.5 * torch.tanh(x) + 0.1 * x + 0.2 * torch.cos(torch.tensor(0.01 * (float(timestep) + 1), dtype=x.dtype))


def walk(scheduler, x, **settings):
    scheduler.set_timesteps(STEPS)
    for timestep in scheduler.timesteps:
        x = scheduler.step(epsilon(x, timestep), timestep, x, **settings).prev_sample
    return x.flatten().tolist()


def main():
    x = torch.tensor(np.random.default_rng(0).normal(size=(2, 1, 2, 3)))
    ddim = DDIMScheduler(1000, clip_sample=False, set_alpha_to_one=True, **BETAS)
    solver = DPMSolverMultistepScheduler(1000, solver_order=2, final_sigmas_type="zero", **BETAS)
    unipc = UniPCMultistepScheduler(1000, solver_order=2, solver_type="bh2", final_sigmas_type="zero", **BETAS)
    noise = torch.tensor(np.random.default_rng(1).normal(size=x.shape))
    ddim.set_timesteps(STEPS)
    once = ddim.step(epsilon(x, 499), 499, x, eta=0.7, variance_noise=noise).prev_sample
    reference = {
        "x": x.flatten().tolist(),
        "noise": noise.flatten().tolist(),
        "alphas_cumprod": ddim.alphas_cumprod[[0, 1, 9, 99, 499, 998, 999]].tolist(),
        "ddim": walk(ddim, x),
        "ddim eta 0.7 from 499": once.flatten().tolist(),
        "dpm_solver": walk(solver, x),
        "unipc": walk(unipc, x),
    }
    OUT.write_text(json.dumps(reference, indent=1) + "\n")


if __name__ == "__main__":
    main()
