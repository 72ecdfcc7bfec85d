"""Models behind any server with OpenAI's API, and the particularities of each kind of server."""

from antiphon.engines.openai_compatible.client import Limits as Limits
from antiphon.engines.openai_compatible.engine import OpenAICompatible as OpenAICompatible
from antiphon.engines.openai_compatible.engine import OpenAICompatibleEmbedder as OpenAICompatibleEmbedder
from antiphon.engines.openai_compatible.presets import PRESETS as PRESETS
from antiphon.engines.openai_compatible.presets import Preset as Preset
