"""Cameras, rays and the renderer: closed forms, and a second implementation in NumPy."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from pdiff_plugins.radiance.rays import RaySplit, around, camera, parts, pictures, placed, rays, within_ball
from pdiff_plugins.radiance.rendering import rendered, weights

RADIUS, RED = 0.6, (0.9, 0.2, 0.1)


def ball(density):
    """Return the field of a homogeneous ball of a density."""

    def field(points_P6):
        inside_P = (points_P6[:, :3].norm(dim=1) < RADIUS).float()
        return density * inside_P, torch.tensor(RED).expand(len(points_P6), 3)

    return field


def waves(points_P6):
    """Return some smooth field that depends on directions, too."""
    x, y, z, *_, up = points_P6.T
    colour_P3 = torch.stack([x.sin() ** 2, (y + up).cos() ** 2, (z * up).sigmoid()], dim=1)
    return 3 * (4 * x * y + z).sin().square(), colour_P3


@pytest.fixture(scope="module")
def segments():
    return around([0.3, 2.0, 4.0], [0.2, 0.6, -1.0], 8, 3.2, 0.7)


@pytest.mark.parametrize("density", [0.5, 4.0])
def test_a_homogeneous_ball_is_as_opaque_as_its_chords_are_long(density, segments):
    begin, end = segments[:, :3].double(), segments[:, 3:].double()
    unit = (end - begin) / (end - begin).norm(dim=1, keepdim=True).clamp_min(1e-9)
    off = torch.linalg.cross(begin, unit).norm(dim=1)
    chord = 2 * (RADIUS**2 - off**2).clamp_min(0).sqrt() * (begin != end).any(dim=1)
    opacity = 1 - (-density * chord).exp()
    expected = opacity[:, None] * torch.tensor(RED) + 1 - opacity[:, None]
    found = rendered(ball(density), placed(segments), 2000)
    assert (found - expected).abs().max() < 2e-3 * density
    assert (chord > 1).any() and (chord == 0).any()
    assert (found[chord == 0] == 1).all(), "a white background where nothing is"


def test_weights_add_up_to_the_opacity():
    density, length = torch.rand(5, 30) * 4, torch.tensor([0.0, 0.01, 0.1, 0.3, 1.0])
    found = weights(density, length)
    torch.testing.assert_close(found.sum(dim=1), 1 - (-(density.sum(dim=1) * length)).exp())
    assert (found >= 0).all() and (found[0] == 0).all()


def test_colours_are_those_of_a_second_implementation(segments):
    given = placed(segments, 0.3)
    expected = []
    for ray in given.double().numpy():
        begin, along = ray[:3], ray[3:6] - ray[:3]
        length = math.sqrt((along**2).sum() + 1e-300)
        light, colour = 1.0, np.zeros(3)
        for number in range(12):
            point = begin + along * (number + ray[6]) / 12
            own = torch.tensor(np.concatenate([point, along / length]))[None]
            density, shown = (value[0].numpy() for value in waves(own))
            through = math.exp(-density * length / 12)
            colour, light = colour + light * (1 - through) * shown, light * through
        expected.append(colour + light)
    torch.testing.assert_close(rendered(waves, given, 12), torch.tensor(np.stack(expected)).float())


def test_samples_lie_at_one_place_of_each_part():
    points, direction, length = parts(torch.tensor([[0.0, 0, 0, 0, 0, 2, 0.25]]), 4)
    torch.testing.assert_close(points[0, :, 2], torch.tensor([0.125, 0.625, 1.125, 1.625]))
    torch.testing.assert_close(direction, torch.tensor([[0.0, 0.0, 1.0]]))
    torch.testing.assert_close(length, torch.tensor([0.5]))
    assert not points[..., :2].any()


@pytest.mark.parametrize(("azimuth", "elevation"), [(0.0, 0.0), (1.0, 0.7), (4.0, -1.2)])
def test_cameras_look_at_the_origin_with_z_up(azimuth, elevation):
    pose = camera(azimuth, elevation, 3.0)
    place, (right, up, back) = pose[:, 3], pose[:, :3].T
    torch.testing.assert_close(pose[:, :3].T @ pose[:, :3], torch.eye(3), rtol=0, atol=1e-6)
    torch.testing.assert_close(torch.linalg.cross(right, up), back)
    torch.testing.assert_close(-back, -place / 3)
    assert right[2].abs() < 1e-6 and up[2] > 0
    assert math.atan2(place[1], place[0]) % (2 * math.pi) == pytest.approx(azimuth, abs=1e-6)
    assert float(place[2]) == pytest.approx(3 * math.sin(elevation), abs=1e-6)


def test_rays_go_through_pixels_row_by_row_from_the_upper_left():
    origin, direction = rays(camera(-math.pi / 2, 0.0, 2.0), 3, 5, (4.0, 4.0), (2.5, 1.5))
    torch.testing.assert_close(direction.norm(dim=1), torch.ones(15))
    across, down = (direction[:, axis] / direction[:, 1] for axis in (0, 2))
    torch.testing.assert_close(origin, torch.tensor([0.0, -2.0, 0.0]))
    torch.testing.assert_close(across.view(3, 5)[1], torch.tensor([-0.5, -0.25, 0, 0.25, 0.5]), rtol=0, atol=1e-6)
    torch.testing.assert_close(down.view(3, 5)[:, 2], torch.tensor([0.25, 0, -0.25]), rtol=0, atol=1e-6)


def test_segments_begin_and_end_on_the_unit_ball_or_have_no_length(segments):
    begin, end = segments[:, :3], segments[:, 3:]
    hit = (end - begin).norm(dim=1) > 0
    assert hit.any() and not hit.all()
    for ends in (begin, end):
        torch.testing.assert_close(ends[hit].norm(dim=1), torch.ones(int(hit.sum())))
    assert torch.equal(begin[~hit], end[~hit])
    inside = within_ball(torch.zeros(3), torch.eye(3), 0.5)
    assert torch.equal(inside, torch.cat([torch.zeros(3, 3), 0.5 * torch.eye(3)], dim=1)), "from where the camera is"
    behind = within_ball(torch.tensor([2.0, 0, 0]), torch.tensor([[1.0, 0, 0]]))
    assert torch.equal(behind[:, :3], behind[:, 3:])


def test_samples_are_drawn_from_the_generator_alone(segments):
    split = RaySplit(segments, torch.rand(len(segments), 2, 3), [{}, {}], (3, 8, 8))
    index, cpu = torch.tensor([5, 2, 90]), torch.device("cpu")
    plain = split.batch(index, cpu)
    assert torch.equal(plain.inputs, placed(segments[index])) and torch.equal(plain.targets, split.targets[index])
    first, again = (split.batch(index, cpu, torch.Generator().manual_seed(1)).inputs for _ in range(2))
    assert torch.equal(first, again) and torch.equal(first[:, :6], segments[index])
    assert len(first[:, 6].unique()) == 3 and (first[:, 6] < 1).all()
    own = RaySplit(segments[:, None].expand(-1, 2, 6), split.targets, [{}, {}], (3, 8, 8)).batch(index, cpu)
    assert own.inputs.shape == (3, 2, 7) and torch.equal(own.inputs[:, 1], plain.inputs)
    views = pictures(split.targets.movedim(1, 0), split.shape)
    assert views.shape == (2, 3, 8, 8, 3) and torch.equal(views[1, 2, 0, 3], split.targets[131, 1])
