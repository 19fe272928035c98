"""Jobs over files: images and scenes, in one plan and one summary."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from udl_tf._support.progress import Progress, no_progress, part_of
from udl_tf.imaging.formats import READABLE
from udl_tf.inference.inputs import Inputs, find_inputs
from udl_tf.inference.job_runner import Summary, run_jobs, settle
from udl_tf.inference.jobs import Job, Options, Plan, check_distinct, plan_images
from udl_tf.inference.scene_jobs import SceneOptions, is_scene, plan_scene, run_scene
from udl_tf.inference.upscaler import Upscaler
from udl_tf.scenes.opening import scene_suffixes

SUFFIXES = tuple(dict.fromkeys((*READABLE, *scene_suffixes())))
"""Suffixes, in lower case, of all files that can be upscaled."""


@dataclass(frozen=True)
class Files:
    """Files to upscale.

    Attributes:
        found: all of them.
        scenes: those that are upscaled as scenes; the others are images.
    """

    found: Inputs
    scenes: frozenset[Path]

    def as_scenes(self) -> "Files":
        """Returns the same files, all of them scenes."""
        return replace(self, scenes=frozenset(file for file, _ in self.found.files))

    def split(self) -> tuple[list[tuple[Path, Path]], list[tuple[Path, Path]]]:
        """Returns images and scenes, each as (file, its path below the output folder)."""
        files = self.found.files
        images = [pair for pair in files if pair[0] not in self.scenes]
        return images, [pair for pair in files if pair[0] in self.scenes]


@dataclass(frozen=True)
class FileOptions:
    """What is computed of each file.

    Attributes:
        images, scenes: of images and of scenes; None: there are none.
    """

    images: Options | None = None
    scenes: SceneOptions | None = None

    @property
    def maps(self) -> tuple[str, ...]:
        """Names of the maps that are written for any file."""
        given = [options for options in (self.images, self.scenes) if options is not None]
        return tuple(dict.fromkeys(name for options in given for name in options.maps))


def find_files(paths: Sequence[Path | str], output: Path) -> Files:
    """Finds images and scenes, sorted as for an RGB model: see `is_scene`.

    Args:
        paths: files, and folders of them.
        output: folder for the results.

    Raises:
        UserError: as find_inputs.
    """
    found = find_inputs(paths, output, SUFFIXES)
    return Files(found, frozenset(file for file, _ in found.files if is_scene(file)))


def plan_files(files: Files, output: Path, options: FileOptions) -> Plan:
    """Plans the jobs for images and scenes; the structure of folders is preserved.

    Args:
        files: what to upscale.
        output: folder for the results.
        options: of all jobs.

    Raises:
        UserError: if two results, or an input and a result, would have the same name.
    """
    images, scenes = files.split()
    jobs, notes = list[Job](), ()
    if options.images is not None:
        jobs, notes = plan_images(images, output, options.images)
    if options.scenes is not None:
        jobs += [plan_scene(file, output / place, options.scenes) for file, place in scenes]
    check_distinct(jobs)
    return Plan(tuple(jobs), files.found.skipped, notes)


def run_files(
    model: Upscaler,
    jobs: Sequence[Job],
    options: FileOptions,
    progress: Progress = no_progress,
) -> Summary:
    """Upscales images, several at a time, and then scenes, one by one; some may fail.

    Args:
        model: upscales them; an Upscaler or an SRModel.
        jobs: what plan_files returned.
        options: of all jobs.
        progress: receives the files that are done or, if all are images, their LR pixels.

    Returns:
        Results, notes (those of scenes contain the consistency of each channel) and failures.
    """
    begin, summary = time.perf_counter(), Summary()
    images = [job for job in jobs if not job.is_scene]
    scenes = [job for job in jobs if job.is_scene]
    if options.images is not None:
        part = part_of(progress, 0, len(images), len(jobs)) if scenes else progress
        summary = run_jobs(model, images, options.images, part)
    if options.scenes is not None:
        for index, job in enumerate(scenes, len(images)):
            part = part_of(progress, index, 1, len(jobs))
            settle(job, partial(run_scene, model, job, options.scenes, part), summary, begin)
    return summary
