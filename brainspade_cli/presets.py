"""Every size and every hyper-parameter in one table of presets; what sizes there are, `networks.configs` says.

`tiny` is for tests (seconds on a CPU), `starter` is what ships, for some hours on a CPU; `starter-gpu` trains the same
networks for some minutes on a GPU, as was done in the end with what ships; `paper` follows the sizes of Fernandez et
al. 2022 (appendix A.1, and the released configurations where the paper is silent).
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from brainspade_cli.errors import InputError
from brainspade_cli.networks.configs import (
    AutoencoderConfig,
    ClassifierConfig,
    DenoiserConfig,
    DiscriminatorConfig,
    GeneratorConfig,
    ScheduleConfig,
    StyleEncoderConfig,
)


@dataclass(frozen=True)
class LabelTrainingConfig:
    """Label autoencoder and denoisers. Loss weights: 0 switches a loss off.

    The denoisers learn from each slice as it is and from `latent_copies` deformed versions of it; `moved_tumours` is
    the share of tumour slices' copies whose tumour is put into another person's brain first. `pooled_weight` weighs how
    well latents that are averaged over 2 x 2 and over 4 x 4 positions decode to the averaged maps; `decoder_steps` of
    the decoder alone give it back what that takes from single pixels, on latents with noise of up to `decoder_noise`
    deviations, such as a sampler leaves in them; there `decoder_l1_weight` stands for `reconstruction_weight`. Each
    denoiser's own sampler is fitted to `solver_labels` labels.
    """

    autoencoder_steps: int = 1500
    autoencoder_batch: int = 8
    autoencoder_rate: float = 5e-4
    reconstruction_weight: float = 1.0
    cross_entropy_weight: float = 1.0
    kl_weight: float = 1e-6
    perceptual_weight: float = 0.002
    adversarial_weight: float = 0.005
    pooled_weight: float = 0.0
    decoder_steps: int = 0
    decoder_noise: float = 0.2
    decoder_l1_weight: float = 30.0
    discriminator_rate: float = 1e-4
    discriminator_base: int = 16
    discriminator_layers: int = 2
    perceptual_channels: int = 1
    denoiser_steps: int = 6000
    denoiser_batch: int = 32
    denoiser_rate: float = 5e-4
    solver_labels: int = 64
    warmup_steps: int = 200
    ema_decay: float = 0.999
    condition_dropout: float = 0.1
    gradient_clip: float = 1.0
    latent_copies: int = 4
    flip: bool = True
    affine_scale: float = 0.06
    affine_degrees: float = 6.0
    affine_shift: float = 4.0
    elastic_shift: float = 0.0
    moved_tumours: float = 0.0
    tumour_fraction: float = 2 / 3
    tumour_from_healthy: bool = True


@dataclass(frozen=True)
class ImageTrainingConfig:
    """Modality/dataset discriminator and image generator (paper A.1). Loss weights: 0 switches a loss off.

    Weights given as a pair run linearly from the first to the second over the training.
    """

    classifier_steps: int = 300
    classifier_batch: int = 16
    classifier_rate: float = 1e-3
    steps: int = 4000
    batch: int = 4
    generator_rate: float = 2e-4
    discriminator_rate: float = 4e-4
    rate_decay_to: float = 0.1
    adversarial_weight: float = 1.0
    perceptual_weight: float = 0.25
    feature_matching_weight: float = 0.05
    kl_weight: float = 0.001
    contrastive_weight: float = 1.0
    modality_weight: tuple[float, float] = (0.1, 2.5)
    dataset_weight: tuple[float, float] = (0.05, 0.75)
    reconstruction_weight: float = 0.0
    ema_decay: float = 0.999
    bias_probability: float = 0.5
    bias_range: tuple[float, float] = (0.2, 0.6)
    contrast_probability: float = 0.5
    contrast_range: tuple[float, float] = (0.85, 1.25)
    noise_probability: float = 0.05
    noise_range: tuple[float, float] = (0.05, 0.15)
    remap_probability: float = 0.0
    flip: bool = True
    gradient_clip: float = 0.0


@dataclass(frozen=True)
class Preset:
    """Everything that defines a training, from network sizes to augmentation ranges."""

    name: str
    autoencoder: AutoencoderConfig = field(default_factory=AutoencoderConfig)
    denoiser: DenoiserConfig = field(default_factory=DenoiserConfig)
    schedule: ScheduleConfig = field(default_factory=ScheduleConfig)
    style_encoder: StyleEncoderConfig = field(default_factory=StyleEncoderConfig)
    generator: GeneratorConfig = field(default_factory=GeneratorConfig)
    discriminator: DiscriminatorConfig = field(default_factory=DiscriminatorConfig)
    classifier: ClassifierConfig = field(default_factory=ClassifierConfig)
    labels: LabelTrainingConfig = field(default_factory=LabelTrainingConfig)
    images: ImageTrainingConfig = field(default_factory=ImageTrainingConfig)


def presets() -> dict[str, Preset]:
    """The table of presets by name: `tiny`, `starter`, `starter-gpu`, `paper`."""
    tiny = Preset(
        name="tiny",
        autoencoder=AutoencoderConfig(patch=2, channels=(8, 8), norm_groups=4),
        denoiser=DenoiserConfig(patch=4, channels=(16, 16), attention=(False, True), head_channels=8, norm_groups=8),
        style_encoder=StyleEncoderConfig(widths=(4, 8, 8), style_dim=8),
        generator=GeneratorConfig(widths=(8, 8, 8, 8), hidden=(4, 4, 4, 4), style_dim=8),
        discriminator=DiscriminatorConfig(scales=2, layers=2, base=4, max_width=8),
        classifier=ClassifierConfig(init_features=4, growth_rate=4, blocks=(1, 1)),
        labels=LabelTrainingConfig(
            autoencoder_steps=4,
            autoencoder_batch=2,
            discriminator_base=4,
            denoiser_steps=4,
            solver_labels=2,
            denoiser_batch=4,
            warmup_steps=2,
            ema_decay=0.5,
            latent_copies=1,
        ),
        images=ImageTrainingConfig(classifier_steps=2, classifier_batch=2, steps=3, batch=2, ema_decay=0.5),
    )
    starter = Preset(
        name="starter",
        # Sized for some hours on two CPU cores.
        autoencoder=AutoencoderConfig(patch=2, channels=(64, 96), norm_groups=16),
        # Where things lie in a brain is told and need not be learnt.
        denoiser=DenoiserConfig(atlas=True),
        schedule=ScheduleConfig(prediction="velocity"),
        # Without the autoencoder's perceptual and adversarial losses, which take two thirds of a step's time.
        labels=LabelTrainingConfig(
            autoencoder_steps=2000,
            autoencoder_batch=4,
            autoencoder_rate=1e-3,
            perceptual_weight=0.0,
            adversarial_weight=0.0,
            # Latents whose coarse parts mean coarse brains: the little time there is suffices denoisers to learn those.
            pooled_weight=0.5,
            decoder_steps=1500,
            warmup_steps=50,
            # Few people seen often would be learnt by heart: more of their deformed copies.
            latent_copies=11,
            # Registered brains differ less in their place than a training of few people gains by moving them more.
            affine_shift=2.0,
            elastic_shift=2.0,
            moved_tumours=0.5,
            denoiser_steps=8000,
            denoiser_batch=16,
            ema_decay=0.999,
        ),
        # A pixel loss, a livelier rate and a lighter grip on the codes: within a short training the paper's contrastive
        # weight of 1 is won by codes that are all alike, and the painter learns to ignore them. A mild bias field, as
        # the released code later went to as well.
        images=ImageTrainingConfig(
            classifier_steps=150,
            steps=6000,
            generator_rate=1e-3,
            discriminator_rate=5e-4,
            adversarial_weight=0.2,
            perceptual_weight=1.0,
            feature_matching_weight=0.5,
            kl_weight=1e-4,
            contrastive_weight=0.02,
            modality_weight=(0.1, 0.5),
            dataset_weight=(0.05, 0.2),
            reconstruction_weight=10.0,
            ema_decay=0.998,
            bias_range=(0.0, 0.1),
            noise_range=(0.02, 0.08),
            remap_probability=0.4,
        ),
    )
    starter_gpu = replace(
        starter,
        name="starter-gpu",
        labels=replace(
            starter.labels,
            denoiser_steps=6000,
            denoiser_batch=64,
            warmup_steps=200,
            ema_decay=0.9995,
        ),
        images=replace(
            starter.images,
            steps=3000,
            batch=16,
            # A sum over the batch: the same grip on a slice's code as with four.
            kl_weight=2.5e-5,
            # Texture takes long to learn; with more steps it may weigh more beside the pixels.
            adversarial_weight=0.4,
            reconstruction_weight=6.0,
        ),
    )
    paper = Preset(
        name="paper",
        autoencoder=AutoencoderConfig(channels=(64, 128, 256), res_blocks=2, norm_groups=32, bottleneck_attention=True),
        denoiser=DenoiserConfig(
            patch=1,
            channels=(256, 512, 768, 1024),
            attention=(False, True, True, True),
            res_blocks=2,
            head_channels=64,
        ),
        style_encoder=StyleEncoderConfig(widths=(64, 128, 256, 512, 512, 512), style_dim=256, pooling="flatten"),
        generator=GeneratorConfig(
            widths=(1024, 1024, 1024, 512, 256, 128), hidden=(128, 128, 128, 128, 128, 128), style_dim=256
        ),
        discriminator=DiscriminatorConfig(scales=2, layers=4, base=64, max_width=512),
        classifier=ClassifierConfig(init_features=64, growth_rate=32, blocks=(6, 12, 24, 16)),
        labels=LabelTrainingConfig(
            autoencoder_steps=27_000,
            autoencoder_batch=256,
            autoencoder_rate=5e-5,
            cross_entropy_weight=0.0,
            discriminator_base=64,
            discriminator_layers=3,
            perceptual_channels=8,
            denoiser_steps=34_000,
            denoiser_batch=384,
            denoiser_rate=2.5e-5,
            ema_decay=0.9999,
            tumour_from_healthy=False,
        ),
        images=ImageTrainingConfig(
            classifier_steps=170_000, classifier_batch=8, classifier_rate=1e-2, steps=2_210_000, batch=6
        ),
    )
    return {preset.name: preset for preset in (tiny, starter, starter_gpu, paper)}


def preset(name: str) -> Preset:
    """The preset of that name; raises InputError, naming the ones there are."""
    table = presets()
    if name not in table:
        raise InputError(f"There is no preset '{name}'; choose one of {', '.join(table)}.")
    return table[name]
