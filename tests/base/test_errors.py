import sys

import pytest

from base.errors import UserError
from base.key_file import read_key
from tests.support.captured import captured


def test_a_message_stays_one_line_for_any_name_in_it():
    assert str(UserError("--output a\nb\x1b[2J: is no folder")) == "--output a?b?[2J: is no folder"


def test_any_rooms_error_that_a_user_can_fix_is_one_line_and_status_2():
    script = """
import sys
from base.errors import UserError
from prunebench import cli
from tests.support.captured import captured

class ToyError(UserError):
    pass

def toy():
    raise ToyError("--toy 7: must be below 5")

cli.app.command()(toy)
sys.argv = ["prunebench", "toy"]
cli.main()
"""
    done = captured([sys.executable, "-P", "-c", script])
    assert (done.returncode, done.stderr) == (2, "prunebench: --toy 7: must be below 5\n")


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"\xff", "is not text"),
        (b" \n", "is empty"),
        (b"two\nlines", "one line of ASCII"),
        ("schlüssel".encode(), "ASCII"),
    ],
)
def test_a_key_file_that_holds_no_key_is_refused_by_the_options_name(tmp_path, content, why):
    file = tmp_path / "key"
    file.write_bytes(content)
    with pytest.raises(UserError, match=f"--serve-key-file.*{why}"):
        read_key(file, "--serve-key-file")


def test_a_key_is_read_without_the_spaces_around_it(tmp_path):
    file = tmp_path / "key"
    file.write_text(" secret \n")
    assert read_key(file) == "secret"
