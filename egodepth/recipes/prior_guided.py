"""Recipes of RPrDepth's training: a student that looks up what a richer teacher saw."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from egodepth.data.configurations import Source
from egodepth.errors import UserError
from egodepth.methods.configurations import OptimiserConfig, PriorGuidedConfig
from egodepth.networks.configurations import NetworkConfig, PoseConfig, PoseNetworkConfig, RPrDepthConfig
from egodepth.recipes.recipe import VIEWS, Mode, Recipe

if TYPE_CHECKING:
    from torch import Tensor, nn

    from egodepth.methods.prior_guided import PriorGuidedMethod
    from egodepth.methods.rich_teachers import RichTeacher
    from egodepth.recipes.needs import Needs, OpenModel

RPRDEPTH = "Han and Shen, High-Precision Self-Supervised Monocular Depth Estimation with Rich-Resource Prior, ECCV 2024"

IMAGES, PIXELS_PER_IMAGE = 2000, 1300
"""Size of a reference set: images that it is drawn from, and pixels of each."""

KEEP = 25_000
"""References that a selection keeps."""


@dataclass(frozen=True)
class PipelineConfig:
    """What `train rprdepth --all` makes on its way, besides the recipe's own settings.

    Attributes:
        teacher_height, teacher_width: of ManyDepth's pictures.
        teacher_encoder: a timm ResNet.
        images, pixels_per_image: of the reference set.
        keep: references that are selected.
        selection_images: that the selection looks at; none means all that validate.
        last_stage: length of the last stage, on the selected prior, as a share of the first one's.
        selection: select references and train on with them; without, the first stage's student is the result, and it
            is released with references evenly spaced over the prior.
        student_batch_size: samples per step and device of the student's own training; none means as for the others.
    """

    teacher_height: int = 320
    teacher_width: int = 1024
    teacher_encoder: str = "resnet18.tv_in1k"
    images: int = IMAGES
    pixels_per_image: int = PIXELS_PER_IMAGE
    keep: int = KEEP
    selection_images: int | None = None
    last_stage: float = 0.25
    selection: bool = True
    student_batch_size: int | None = None


@dataclass(frozen=True)
class PriorGuidedRecipe(Recipe):
    """Training of RPrDepth: a student that looks up what a richer teacher saw.

    Attributes:
        pose: the pose network.
        mode: whether the views to explain come from other times, the other camera, or both.
        metres_per_unit: what one unit of depth means where a stereo baseline fixes the scale.
        losses: weights, and how many references a step sees.
        teacher: a trained model with more to see: a model or run folder, a hub id, or a depth model of transformers
            (hf:owner/name, hf:FOLDER).
        prior: its reference set, a .safetensors file of `egodepth prior build` or `egodepth prior select`.
        fusion: the student looks up the prior. Without, it is the student alone that the teacher guides.
        all: make on the way what is not given of teacher, prior and student (`start_from`), and select the references
            that count.
        ladder: what is made then.
    """

    network: NetworkConfig = field(default_factory=RPrDepthConfig)
    pose: PoseNetworkConfig = field(default_factory=PoseConfig)
    mode: Mode = "mono"
    metres_per_unit: float = 5.4
    losses: PriorGuidedConfig = field(default_factory=PriorGuidedConfig)
    teacher: str | None = None
    prior: str | None = None
    fusion: bool = True
    all: bool = False
    ladder: PipelineConfig = field(default_factory=PipelineConfig)

    @property
    def views(self) -> tuple[Source, ...]:
        return VIEWS[self.mode]

    @property
    def makes_its_needs(self) -> bool:
        return self.all

    def build_method(
        self, networks: "Mapping[str, nn.Module]", teacher: "RichTeacher | None" = None, images: "Tensor | None" = None
    ) -> "PriorGuidedMethod":
        from egodepth.methods.prior_guided import PriorGuidedMethod
        from egodepth.methods.view_synthesis import TrainingSetup

        setup = TrainingSetup(self.augmentation, self.metres_per_unit, self.height, self.width)
        parts = networks["depth"], networks.get("pose"), teacher, self.losses, setup
        return PriorGuidedMethod(*parts, self.optimiser, self.training.seed)

    def needs(self, open_model: "OpenModel") -> "tuple[Recipe, Needs]":
        """Frames are read at the teacher's size, and the network holds what the prior has."""
        from egodepth.networks.prior import ReferenceSet
        from egodepth.recipes.needs import Needs

        if self.teacher is None or (self.fusion and self.prior is None):
            needed = "--teacher MODEL and --prior FILE" if self.fusion else "--teacher MODEL"
            raise UserError(f"rprdepth: needs {needed}, or --all to make what is missing on the way.")
        model = open_model(self.teacher)
        teacher = model.rich_teacher()
        views = tuple(dict.fromkeys((*self.views, *teacher.sources)))
        needs = Needs(views, model.rich_size((self.height, self.width)), teacher, licence=model.licence)
        if not self.fusion:
            return replace(self, network=self.network.student), needs
        references = ReferenceSet.load(Path(self.prior))
        references.check_teacher(teacher.hash())
        network = replace(self.network, references=len(references), reference_channels=references.features.shape[1])
        return replace(self, network=network), replace(needs, references=references)

    def unused_options(self) -> Mapping[str, str]:
        """Settings of what is not made, and of views that are not explained."""
        unused = dict(super().unused_options())
        if not self.fusion:
            unused["prior"] = "it belongs to --fusion."
        if not self.all:
            unused["ladder"] = "it belongs to --all."
        if self.mode == "stereo":
            unused["pose"] = "it belongs to --mode mono or mono+stereo."
        if self.mode == "mono":
            unused["metres_per_unit"] = "it belongs to --mode stereo or mono+stereo."
        return unused


RECIPES: dict[str, Recipe] = {
    "rprdepth": PriorGuidedRecipe(source=RPRDEPTH, optimiser=OptimiserConfig(epochs=20, decay_epochs=(15,))),
}
