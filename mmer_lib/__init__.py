"""mmer: two multimodal emotion models, taught by running them.

Data walks one way: corpora -> features -> batch -> models -> training -> probes -> figures.
Importing this package loads no heavy library and touches no network.
"""

__version__ = "0.1.0"
