"""The records of a run folder; `reports/runs/run_folder.py` lists the file of each."""
