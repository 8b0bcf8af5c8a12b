"""`[[configurations]]`: what a file may say, and what is refused before anything is made or measured."""

import re
from pathlib import Path

import pytest

from base.errors import UserError
from prunebench.experiment.changes import experiment_changes
from prunebench.experiment.plan import plan_configurations
from prunebench.experiment.resolve import load_experiment
from prunebench.experiment.tokenizers import with_same_texts
from prunebench.experiment.treatment import treatment
from prunebench.run.configurations import check_configurations
from prunebench.run.serving import check_addresses, check_gpu_limits, check_placement
from tests.prunebench.conftest import TINYGLU, on_tinyglu
from tests.server.conftest import running_server

HEAD = f"""{on_tinyglu("tiny", token_ms=1)}
[[workloads]]
name = "one"
kind = "single"
requests = 1
"""


def experiment(folder: Path, *configurations: str, head: str = HEAD):
    file = folder / "experiment.toml"
    file.write_text(head + "".join(f"[[configurations]]\n{one}\n" for one in configurations))
    return load_experiment(file)


def refusal(folder: Path, *configurations: str, head: str = HEAD) -> str:
    with pytest.raises(UserError) as caught:
        check_configurations(experiment(folder, *configurations, head=head))
    assert "\n" not in f"{caught.value}"
    return f"{caught.value}"


PLAIN = 'label = "plain"'


def test_a_configuration_has_what_serve_shares_where_it_has_nothing_of_its_own(tmp_path: Path):
    slow, other = 'label = "slow"\noptions = { prefill_ms = "9" }', 'label = "other"\nengine = "transformers"'
    found = experiment(tmp_path, PLAIN, slow, other)
    assert found.asked("slow").options == {"token_ms": "1", "prefill_ms": "9"}
    assert found.asked("plain").engine == "synthetic"
    assert found.asked("other").options == {}  # those of [serve] are another engine's


def test_options_and_variables_are_written_as_text_numbers_or_true_and_false(tmp_path: Path):
    head = HEAD.replace('token_ms = "1"', "token_ms = 1.5")
    settings = "options = { prefill_ms = 9, vocab = '100', x = true }\nenvironment = { OMP_NUM_THREADS = 1, B = false }"
    found = experiment(tmp_path, PLAIN, f'label = "b"\n{settings}', head=head)
    assert found.asked("b").options == {"token_ms": "1.5", "prefill_ms": "9", "vocab": "100", "x": "true"}
    assert found.asked("b").environment == {"OMP_NUM_THREADS": "1", "B": "false"}


def test_the_plan_has_every_configuration_with_the_baseline_first_and_the_size_of_what_is_pruned(tmp_path: Path):
    head = f'baseline = "half"{HEAD}[prune]\nwidths = [768]\n'
    plan = plan_configurations(experiment(tmp_path, 'label = "half"\nwidth = 512', head=head))
    assert [(one.label, one.is_baseline) for one in plan] == [
        ("half", True),
        ("width-1024", False),
        ("width-768", False),
    ]
    assert [one.pruning and one.pruning.place for one in plan] == ["maw/width-512", None, "width-768"]


def test_one_width_under_two_settings_is_pruned_once(tmp_path: Path):
    slow = 'label = "slow"\nwidth = 768\noptions = { token_ms = "2" }'
    plan = plan_configurations(experiment(tmp_path, slow, head=f"{HEAD}[prune]\nwidths = [768]\n"))
    assert {one.pruning.place for one in plan if one.pruning} == {"width-768"}


@pytest.mark.parametrize(
    ("configuration", "said"),
    [
        ('label = "b"', "configuration b is the same as plain"),
        ('label = "plain"', "configurations: two have the label plain"),
        ('label = "b"\nurl = "http://127.0.0.1:1"\ncheckpoint = "x"', "checkpoint does not go with url"),
        ('label = "b"\nurl = "http://127.0.0.1:1"\nwidth = 5', "width does not go with url"),
        ('label = "b"\nurl = "127.0.0.1:1"', "must be like http://127.0.0.1:8000"),
        ('label = "b"\ncheckpoint = "nowhere/"', "no checkpoint at"),
        (f'label = "b"\ncheckpoint = "{TINYGLU}"\nwidth = 5', "width prunes [model]"),
        ('label = "b"\nwidth = 5000', "configuration b: "),
        ('label = "b"\nwidth = 1024', "width 1024 is [model]'s own"),
        ('label = "b"\nwidth = 512\ncriterion = "act"', "criterion act needs a text"),
        ('label = "b"\noptions = { token_mms = "1" }', "configuration b: "),
        ('label = "b"\nenginee = "vllm"', "did you mean engine?"),
        ('label = "b"\ncommand = "serve"', "command must have {port}"),
        ('label = "b"\nwidth = 512\ncommand = "serve {port}"', "command must have {checkpoint}"),
        ('label = "b"\ncommand = "serve {port}"\noptions = { a = "1" }', "options does not go with command"),
        ('label = "b"\nmodel = "m"', "model belongs to url or command"),
        ('label = "../b"', "label: "),
    ],
)  # fmt: skip
def test_what_cannot_be_compared_is_refused_in_one_line(tmp_path: Path, configuration: str, said: str):
    assert said in refusal(tmp_path, PLAIN, configuration)


def test_the_treatment_of_each_says_what_was_asked_to_differ(tmp_path: Path):
    others = (
        'label = "half"\nwidth = 512',
        'label = "slow"\noptions = { token_ms = "2", prefill_ms = "3" }\nenvironment = { A = "1" }',
        'label = "there"\nurl = "http://127.0.0.1:1"',
        'label = "theirs"\ncommand = "serve {checkpoint} {port}"',
        'label = "other"\nengine = "transformers"',
    )
    baseline, *found = plan_configurations(experiment(tmp_path, PLAIN, *others))
    assert treatment(baseline, baseline) == {}
    assert {one.label: [*treatment(one, baseline).values()] for one in found} == {
        "half": ["pruned to width 512, 50 % removed by maw"],
        "slow": ["token_ms = 2 instead of 1", "prefill_ms = 3", "A = 1"],
        "there": ["the server at http://127.0.0.1:1"],
        "theirs": ["started by serve {checkpoint} {port}"],
        "other": ["engine transformers instead of synthetic"],
    }


def test_a_baseline_that_is_not_there_is_named_with_those_that_are(tmp_path: Path):
    assert "baseline: there is no configuration x, only plain" in refusal(tmp_path, PLAIN, head=f'baseline = "x"{HEAD}')


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ('headers = ["X-Team: a"]', "headers belongs to url"),
        ('url = "http://127.0.0.1:1"\nheaders = ["X-Team"]', "headers X-Team: must be like"),
        ('url = "http://127.0.0.1:1"\nheaders = ["Authorization: Bearer k"]', "api-key-file"),
    ],
)
def test_headers_are_those_of_a_server_that_is_there(tmp_path: Path, more: str, said: str):
    with pytest.raises(UserError) as caught:
        experiment(tmp_path, f'label = "there"\n{more}')
    assert said in f"{caught.value}"


def test_nothing_to_compare_is_refused(tmp_path: Path):
    assert "give [prune] or [[configurations]]" in refusal(tmp_path)


def test_a_checkpoint_of_the_model_needs_one(tmp_path: Path):
    head = HEAD.replace(f'[model]\nsource = "{TINYGLU}"\n', "")
    assert "plain is of [model], which is missing" in refusal(tmp_path, PLAIN, head=head)
    assert [
        one.source for one in plan_configurations(experiment(tmp_path, f'{PLAIN}\ncheckpoint = "{TINYGLU}"', head=head))
    ] == [TINYGLU]


def test_another_label_is_another_run(tmp_path: Path):
    before, now = experiment(tmp_path, PLAIN), experiment(tmp_path, PLAIN, 'label = "b"\nwidth = 512')
    with pytest.raises(UserError, match="another run"):
        experiment_changes(before, now).require_accepted(tmp_path, accepted=True)


def test_chats_are_sent_in_words_where_no_tokenizer_is_known(tmp_path: Path):
    head = HEAD.replace('kind = "single"', 'kind = "single"\nendpoint = "chat"')
    model = f'[model]\nsource = "{TINYGLU}"\n'
    there = experiment(tmp_path, 'label = "there"\nurl = "http://127.0.0.1:1"', head=head.replace(model, ""))
    changed, note = with_same_texts(there, plan_configurations(there))
    assert ([w.prompt_as for w in changed.workloads], note and "words" in note) == (["words"], True)
    known = experiment(tmp_path, PLAIN, 'label = "there"\nurl = "http://127.0.0.1:1"', head=head)
    assert with_same_texts(known, plan_configurations(known)) == (known, None)


def test_texts_replace_token_ids_where_a_tokenizer_is_not_known_and_a_note_says_so(tmp_path: Path):
    there = experiment(tmp_path, PLAIN, 'label = "there"\nurl = "http://127.0.0.1:1"')
    changed, note = with_same_texts(there, plan_configurations(there))
    assert [w.prompt_as for w in changed.workloads] == ["text"]
    assert note is not None
    assert "that of there is not" in note
    alike = experiment(tmp_path, PLAIN, 'label = "half"\nwidth = 512')
    assert with_same_texts(alike, plan_configurations(alike)) == (alike, None)


def test_a_server_that_is_not_there_or_serves_another_model_is_refused(tmp_path: Path):
    def check(configuration: str) -> None:
        check_addresses(plan_configurations(experiment(tmp_path, PLAIN, configuration)))

    with pytest.raises(UserError, match=r"configuration b: http://127\.0\.0\.1:1 does not answer"):
        check('label = "b"\nurl = "http://127.0.0.1:1"')
    with running_server(TINYGLU, engine="synthetic") as server:
        check(f'label = "b"\nurl = "{server.url}"')
        with pytest.raises(UserError, match=f"model other: {re.escape(server.url)} serves tinyglu"):
            check(f'label = "b"\nurl = "{server.url}"\nmodel = "other"')


def test_gpu_limits_are_a_treatment_and_are_refused_without_leave(tmp_path):
    capped = 'label = "capped"\npower_limit_w = 300\nclock_mhz = 1200'
    plan = plan_configurations(experiment(tmp_path, PLAIN, capped))
    assert treatment(plan[1], plan[0]) == {
        "power_limit_w": "power limit 300 W",
        "clock_mhz": "clock locked to 1200 MHz",
    }
    with pytest.raises(
        UserError, match=r"^configuration capped: power_limit_w and clock_mhz set this machine's GPUs: allow"
    ):
        check_gpu_limits(plan, allowed=False)
    with pytest.raises(
        UserError, match=r"^configuration capped: power_limit_w and clock_mhz do not go with --serve-on"
    ):
        check_placement(plan, "--serve-on")


def test_a_draft_of_a_narrower_width_is_pruned_once_and_is_a_treatment(tmp_path):
    drafted, ngram = (
        f'label = "{n}"\nspeculative = {{ {s} tokens = 2 }}' for n, s in (("d", "width = 512,"), ("n", ""))
    )
    head = HEAD.replace('engine = "synthetic"', 'engine = "vllm"')
    plan = plan_configurations(experiment(tmp_path, PLAIN, drafted, ngram, 'label = "narrow"\nwidth = 512', head=head))
    assert plan[1].draft == plan[3].pruning
    assert [plan[n].draft for n in (0, 2)] == [None, None]
    assert treatment(plan[1], plan[0]) == {"speculative": "speculative decoding: width 512 proposes 2 tokens at a time"}
    assert treatment(plan[2], plan[0])["speculative"].startswith("speculative decoding: n-grams of the prompt propose")


def test_an_engine_without_speculative_decoding_is_refused(tmp_path):
    said = refusal(tmp_path, PLAIN, 'label = "d"\nspeculative = { tokens = 2 }')
    assert said == "configuration d: speculative: the synthetic engine has no speculative decoding, vllm has"
