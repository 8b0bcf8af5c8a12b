"""What the benchmark of installing reports of an environment."""

from __future__ import annotations

from pathlib import Path

from benchmarks.install.__main__ import largest


def test_a_module_of_one_file_counts_with_the_package_of_its_name(tmp_path: Path):
    packages = tmp_path / "lib" / "site-packages"
    sizes = {"_duckdb.cpython-311-x86_64-linux-gnu.so": 3, "duckdb/a.py": 1, "numpy/b.py": 1, "numpy.libs/c.so": 1}
    for name, millions in sizes.items():
        (packages / name).parent.mkdir(parents=True, exist_ok=True)
        (packages / name).write_bytes(bytes(millions * 1_000_000))
    assert largest(tmp_path) == {"duckdb": 4.0, "numpy": 2.0}
