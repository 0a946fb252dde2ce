"""brainspade: labelled synthetic brain MRI slices in the contrast of a scan that you hand over."""

__version__ = "0.2.0.dev0"
