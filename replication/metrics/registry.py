"""Metrics by name: what each is called, which way is better, what it is held against, how it is defined."""

from dataclasses import dataclass

from .edges import SIGMA, THRESHOLDS


@dataclass(frozen=True)
class Metric:
    """What a metric is.

    Title for tables; better "lower" or "higher", or "" for neither; compared with "content" or "style"; definition.
    """

    title: str
    better: str
    against: str
    definition: str


METRICS = {
    "content_loss": Metric(
        "content loss",
        "lower",
        "content",
        "sum over relu4_1, relu5_1 of MSE of normalised features, 0 to about 4 (StyTr2's code)",
    ),
    "style_loss": Metric(
        "style loss", "lower", "style", "sum over relu1_1..relu5_1 of MSE(mu) + MSE(sigma) (StyTr2's code)"
    ),
    "content_loss_b": Metric(
        "content loss B",
        "lower",
        "content",
        "mean over relu4_1, relu5_1 of MSE of raw features (MicroAST's script, RGB)",
    ),
    "style_loss_b": Metric(
        "style loss B", "lower", "style", "mean over relu1_1..relu5_1 of MSE(mu) + MSE(sigma) (MicroAST's script, RGB)"
    ),
    "ssim_grey": Metric(
        "SSIM", "higher", "content", "8-bit grey, 7x7 uniform window, sample covariance (MicroAST's script); primary"
    ),
    "ssim_rgb": Metric("SSIM RGB", "higher", "content", "8-bit RGB, 7x7 uniform window, mean over channels"),
    "ssim_gaussian": Metric(
        "SSIM Gaussian", "higher", "content", "8-bit grey, 11x11 Gaussian window of 1.5, Wang et al. 2004"
    ),
    "detail": Metric(
        "fine detail", "", "content", "100 x RMS of grey minus its Gaussian of 2 px; neither more nor less is better"
    ),
    "style_spread": Metric(
        "unevenness of style",
        "lower",
        "style",
        "standard deviation over mean of the style loss at relu3_1 of 4x4 tiles",
    ),
    "psnr": Metric("PSNR", "higher", "content", "10 log10(255^2 / MSE) in dB over RGB jointly, 8-bit"),
    "lpips": Metric("LPIPS", "lower", "content", "lpips 0.1, AlexNet"),
    "lpips_vgg": Metric("LPIPS (VGG)", "lower", "content", "lpips 0.1, VGG-16"),
    "lpips_vgg_substitute": Metric(
        "LPIPS substitute (VGG)",
        "lower",
        "content",
        "LPIPS formula on VGG-19 normalised, weights fitted to LPIPS-SqueezeNet",
    ),
}
# Of colours, structure and sets, by the networks that the field's scripts use, where they are on this machine.
METRICS |= {
    "colour_histogram": Metric(
        "colour loss",
        "lower",
        "style",
        "Hellinger distance of HistoGAN's colour histograms, constants of StyleID's script",
    ),
    "cfsd": Metric(
        "CFSD",
        "lower",
        "content",
        "StyleID's script: divergence of self-similarities at relu3_1 of torchvision's VGG-19, summed over positions",
    ),
    "fid": Metric(
        "FID",
        "lower",
        "style",
        "of all results to their paintings, art-fid's Inception trained on paintings, at the results' size",
    ),
    "art_fid": Metric("ArtFID", "lower", "style", "(1 + mean LPIPS with AlexNet) (1 + FID) (art-fid)"),
    "fid_imagenet": Metric(
        "FID (ImageNet)", "lower", "style", "of all results to their paintings, the Inception of torch-fidelity"
    ),
    "kid": Metric(
        "KID", "lower", "style", "unbiased cubic MMD of all results to their paintings, the Inception of torch-fidelity"
    ),
}
# Of `metrics.semantic`: on pairs with maps alone.
METRICS |= {
    "ssl": Metric(
        "SSL",
        "lower",
        "style",
        "style loss of regions of one class, mean over classes; our reading, the formula could not be read",
    ),
    "ssl_area": Metric("SSL by area", "lower", "style", "the same, classes weighted by their area in the content"),
    "ssl_gram": Metric(
        "SSL, Gram", "lower", "style", "MSE of regions' Gram matrices, sum over relu1_1..relu5_1, mean over classes"
    ),
    "region_colour": Metric(
        "colour of regions",
        "lower",
        "style",
        "distance of mean CIELAB colours of regions of one class, mean over classes",
    ),
    "cfsd_sum": Metric(
        "CFSD substitute, sum",
        "lower",
        "content",
        "StyleID's script on relu3_1 of VGG-19 normalised: divergence of self-similarities, summed over positions",
    ),
    "cfsd_mean": Metric("CFSD substitute x 1000", "lower", "content", "the same, mean over positions, times 1000"),
    "frechet_substitute": Metric(
        "Frechet distance substitute",
        "lower",
        "style",
        "of all results to all styles, mean over 10 draws of 16 directions of pooled VGG-19 features, shrunk",
    ),
    "frechet_spread": Metric(
        "its spread over directions",
        "",
        "style",
        "standard deviation of the Frechet distance over the draws of directions",
    ),
    "kernel_distance": Metric(
        "kernel distance",
        "lower",
        "style",
        "of all results to all styles: KID's unbiased cubic MMD on pooled VGG-19 features",
    ),
}
# Of `metrics.flicker`: on clips alone.
METRICS |= {
    "flow_error": Metric(
        "flow error",
        "lower",
        "the frame before",
        "100 x root mean square of frame minus warped predecessor where visible (Ruder et al.)",
    ),
    **{
        f"flow_error_style{number}": Metric(
            f"flow error, painting {number}", "lower", "the frame before", "flow error with one painting alone"
        )
        for number in range(1, 6)
    },
    "flow_error_lai": Metric(
        "warping error",
        "lower",
        "the frame before",
        "masked mean square of the same difference, earlier frame warped to the later; the script of Lai et al. warps "
        "the later to the earlier",
    ),
    "adjacent_mean": Metric(
        "adjacent difference x 100",
        "lower",
        "the frame before",
        "mean absolute difference of adjacent frames, no flow (MCCNet)",
    ),
    "adjacent_variance": Metric(
        "its variance", "lower", "the frame before", "variance over pixels of the adjacent difference x 100"
    ),
}
for _suffix, (_low, _high) in THRESHOLDS.items():
    _where = f"Canny, sigma {SIGMA}, thresholds {_low:g} and {_high:g}"
    METRICS |= {
        f"edge_f1{_suffix}": Metric(
            "edge F1", "higher", "content", f"harmonic mean of edge precision and recall; {_where}"
        ),
        f"edge_precision{_suffix}": Metric(
            "edge precision", "higher", "content", f"share of the result's edges within 2 px of the content's; {_where}"
        ),
        f"edge_recall{_suffix}": Metric(
            "edge recall", "higher", "content", f"share of the content's edges within 2 px of the result's; {_where}"
        ),
        f"edge_density{_suffix}": Metric(
            "edge density",
            "",
            "content",
            f"edge pixels of the result over the content's; neither more nor less is better; {_where}",
        ),
        f"edge_noise{_suffix}": Metric(
            "edge noise",
            "lower",
            "content",
            f"share of edge pixels farther than 8 px from the content's edges; {_where}",
        ),
    }
METRICS["edge_leakage"] = Metric(
    "edge leakage",
    "lower",
    "style",
    "share of added edges within 2 px of the painting's edges, above chance; Canny as edge F1",
)
# The least difference between two methods that a substitute can tell. Against LPIPS with SqueezeNet, ours is too low by
# 0.06 for one method and too high by 0.07 for another, whatever the number of images.
RESOLUTION = {"lpips_vgg_substitute": 0.05}
# Why a column is not the metric that the papers print; shown in the table itself.
SUBSTITUTES = {
    "lpips_vgg_substitute": (
        "substitute: not LPIPS; differences under 0.05 between methods decide nothing; see"
        " checkpoints/lpips-substitute.json for its rank correlation with LPIPS"
    ),
    "cfsd_sum": "substitute: not the printed CFSD, which uses torchvision's VGG-19",
    "cfsd_mean": "substitute: not the printed CFSD, which uses torchvision's VGG-19",
    "frechet_substitute": "substitute: not FID, which uses an Inception trained on paintings and more images",
    "kernel_distance": "substitute: not FID; unbiased at few images",
}
