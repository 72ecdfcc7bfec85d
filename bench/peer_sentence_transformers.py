"""The peer of `embeddings.py`: sentence-transformers, on the CPU. Arguments: the model's folder and how many threads.

A line of standard input is first the texts, as a JSON list, then each time `[texts a call, seconds]`; each is answered
with a line, the latter with texts a second and milliseconds of processor time for each.

    python -m venv peer-venv && peer-venv/bin/pip install sentence-transformers==6.2.0 torch==2.13.0
"""

import json
import sys
import time
from itertools import cycle

import torch
from sentence_transformers import SentenceTransformer


def main() -> None:
    torch.set_num_threads(int(sys.argv[2]))
    model = SentenceTransformer(sys.argv[1], device="cpu")
    inputs = json.loads(sys.stdin.readline())
    print("ready", flush=True)
    for line in sys.stdin:
        size, seconds = json.loads(line)
        batches = cycle([inputs[at : at + size] for at in range(0, len(inputs), size)])
        begun, used = time.perf_counter(), time.process_time()
        done = 0
        while time.perf_counter() - begun < seconds:
            done += len(model.encode(next(batches), batch_size=size, show_progress_bar=False))
        print(
            json.dumps([done / (time.perf_counter() - begun), (time.process_time() - used) * 1000 / done]), flush=True
        )


if __name__ == "__main__":
    main()
