"Push a run to the Hub twice, and load it by revision; started by the page `publishing`."
import json, sys
from unittest.mock import patch

from dnd_transformer import DnDPipeline
from dnd_transformer.models import pairs
from dnd_transformer.models.checkpoints import write_folder

run, scores = sys.argv[1], json.load(open(sys.argv[2]))
NAME = "me/fifty-words"
said = []


def weights(source, **how):
    "All weights of a transformer, and where it came from."
    net = DnDPipeline.from_pretrained(source, device="cpu", **how).transformer
    return {k: v.clone() for k,v in net.state_dict().items()}, net.info.get("revision")


def different(a, b): return sum(int((a[k] != b[k]).sum()) for k in a)


def in_shards(tensors, info, folder, dtype=None):
    return write_folder(tensors, info, folder, dtype, shard_bytes=2*10**6)


pipe = DnDPipeline.from_pretrained(run, device="cpu")
pipe.sampling = dict(temperature=.5)
card = dict(run=run, scores=scores, license="apache-2.0")
commits = [pipe.push_to_hub(NAME, **card).rpartition("/")[2]]
pipe.transformer.layers[0].attention_norm.weight.data[0] += 1
with patch("dnd_transformer.models.checkpoints.write_folder", in_shards):
    commits.append(pipe.push_to_hub(NAME, message="One weight", **card).rpartition("/")[2])

start, _ = weights(run)
first, revision = weights(NAME, revision=commits[0])
second, newest = weights(f"{NAME}@{commits[1]}"), weights(NAME)
said.append(f"first commit: {different(first, start)} weights differ from the run")
said.append(f"second commit: {different(second[0], start)} weight differs from the run")
for source, how in ((NAME, dict(revision="0"*40)), ("me/nothing", {})):
    try: pairs.load_pair(source, **how)
    except FileNotFoundError as e: said.append(str(e).replace("0"*40, "0...0"))
print(json.dumps(dict(
    said=said, commits=commits, revision=revision,
    first_is_the_run=different(first, start) == 0,
    second_differs_by_one_weight=different(second[0], start) == different(newest[0], start) == 1)))
