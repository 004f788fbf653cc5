import os

import pytest

from ltlib import paths
from ltlib.errors import InputError
from ltlib.experiments.experiment import Experiment
from ltlib.launch.sweep_file import Options, read_sweep
from ltlib.launch.tasks import tasks_of

TENS = f"[{', '.join(f'n_max={n}' for n in range(2, 102))}]"
SEEDS = f"[{', '.join(map(str, range(1000)))}]"
GIGANTIC = f"grid: {{overrides: {TENS}, imbalance_factor: {SEEDS}, method: {TENS}}}\nseeds: {SEEDS}"
EXAMPLES = sorted((paths.project() / "notebooks" / "sweeps").glob("*.yaml"))


@pytest.fixture
def written(tmp_path):
    """Call it with the text of a sweep file to get its path."""

    def write(text: str):
        file = tmp_path / "many.yaml"
        file.write_text(text)
        return file

    return write


def test_a_grid_gives_all_combinations_with_the_seeds_innermost(written):
    found = read_sweep(
        written(
            "common: {dataset: digits, profile: smoke}\n"
            "grid:\n  method: [mixup, mislas]\n  imbalance_factor: [10, 100]\n"
            "seeds: [0, 1]\nworkers: 3\n"
        )
    )
    assert found.name == "many"
    assert found.options == Options(workers=3)
    assert found.experiments == tuple(
        Experiment(method=method, dataset="digits", imbalance_factor=factor, profile="smoke", seed=seed)
        for method in ("mixup", "mislas")
        for factor in (10.0, 100.0)
        for seed in (0, 1)
    )


def test_a_list_of_experiments_wins_over_what_is_common(written):
    found = read_sweep(
        written(
            "common: {method: mixup, seed: 7}\nexperiments:\n  - overrides: alpha=0.5\n  - {method: lws, seed: 8}\n"
        )
    )
    assert found.experiments == (
        Experiment(method="mixup", seed=7, overrides="alpha=0.5"),
        Experiment(method="lws", seed=8),
    )


def test_what_is_given_beside_the_file_wins_and_texts_are_read(written):
    file = written("common: {method: mixup}\nworkers: 3\nretries: 0\n")
    found = read_sweep(file, workers="2", scheduler="tls://host:8786", gpus="0")
    assert found.options == Options(workers=2, retries=0, scheduler="tls://host:8786", gpus=0)


def test_a_cluster_without_tls_is_used_by_who_insists(written):
    file = written("scheduler: tcp://host:8786")
    assert read_sweep(file, without_tls=True).options.without_tls
    assert read_sweep(written("scheduler: tcp://host:8786\nwithout_tls: true")).options.without_tls


def test_what_yaml_reads_as_written_is_kept(written):
    found = read_sweep(
        written("common: {imbalance_factor: 1.5e+1, overrides: 'n_max=010', data_dir: '2024-01-02'}\nseeds: [0, 10]")
    )
    assert [e.seed for e in found.experiments] == [0, 10]
    assert found.experiments[0].imbalance_factor == 15
    assert (found.experiments[0].overrides, found.experiments[0].data_dir) == ("n_max=010", "2024-01-02")


def test_a_pipe_or_a_device_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for file in (tmp_path / "pipe", "/dev/zero", tmp_path):
        with pytest.raises(InputError, match="is no file: name a YAML file"):
            read_sweep(file)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("gird: {method: [mixup]}", "the word 'gird'. Did you mean 'grid'"),
        ("common: {metod: mixup}", "'metod' in common is no field of an experiment. Did you mean 'method'"),
        ("grid: {sede: [0]}", "'sede' in grid .*Did you mean 'seed'"),
        ("experiments: [{profil: smoke}]", "'profil' in experiments .*Did you mean 'profile'"),
        ("common: {method: mixupp}", "method 'mixupp' is not known. Did you mean 'mixup'"),
        ("common: {seed: x}", "seed must be a whole number; got 'x'"),
        ("common: {method: [mixup]}", r"method must be a text; got \['mixup'\]"),
        ("grid: {method: mixup}", "method in grid must be a list.*got 'mixup'"),
        ("grid: {method: []}", "method in grid must be a list"),
        ("grid: [method]", "grid must map fields to values"),
        ("common:", "common must map fields to values.*got None"),
        ("common: {method: mixup}\ngrid: {method: [lws]}", "gives method in common and in grid"),
        ("grid: {seed: [0]}\nexperiments: [{}]", "a grid and a list of experiments"),
        ("experiments: {method: mixup}", "experiments must be a list of maps"),
        ("experiments: [mixup]", "experiments must map fields to values.*got 'mixup'"),
        ("seeds: 3", r"seeds must be a list such as \[0, 1, 2\]; got 3"),
        ("seeds:", "seeds must be a list.*got None"),
        ("seeds: [0, -1]", "seed must be a whole number from 0; got -1"),
        ("seeds: [0]\ncommon: {seed: 1}", "gives seeds and a seed of an experiment"),
        ("workers: -1", "workers must be a whole number from 0; got -1"),
        ("workers: two", "workers must be a whole number; got 'two'"),
        ("retries: true", "retries must be a whole number from 0; got True"),
        ("gpus: 1.5", "gpus must be a whole number from -1; got 1.5"),
        ("scheduler: host", "scheduler must be an address such as tls://host:8786; got 'host'"),
        ("resources: GPU", "resources must map names to numbers"),
        ("resources: {GPU: 0}", "resources must map names to numbers"),
        ("grid: {seed: [0]}\ngrid: {seed: [1]}", "line 2: 'grid' is given twice; keep one"),
        ("common: {seed: 0, seed: 1}", "line 1: 'seed' is given twice; keep one"),
        ("common: [", "cannot be read as YAML: .*line 1"),
        ("common: !!python/object/apply:os.system [ls]", "cannot be read as YAML: could not determine a constructor"),
        ("seeds: [010]", "line 1: 010 must be a plain number such as 10, or a text in quotes"),
        ("seeds: [0o10]", "seed must be a whole number; got '0o10'"),
        ("common:\n  seed: 0x10", "line 2: 0x10 must be a plain number"),
        ("seeds: [1_000]", "line 1: 1_000 must be a plain number"),
        ("seeds: [1:30]", "line 1: 1:30 must be a plain number"),
        ("common: {imbalance_factor: 1:30.5}", "line 1: 1:30.5 must be a plain number such as 0.5"),
        ("common: {data_dir: 2024-01-02}", "line 1: YAML takes this for a timestamp; write it in quotes"),
        ("common: {data_dir: !!binary aGk=}", "line 1: YAML takes this for a binary"),
        (f"seeds: [{'9' * 5000}]", "line 1: 9{40} must be a plain number"),
        ("common: {imbalance_factor: .nan}", "imbalance_factor is .*a number from 1; got nan"),
        ("common: {imbalance_factor: .inf}", "imbalance_factor is .*a number from 1; got inf"),
        ("common: &c {method: mixup}\nexperiments: [*c]", r"line 2: the alias \*c is not allowed; write the value out"),
        ("a: &a [*a]", "alias"),
        ("[" * 3000, "line 1: more than 20 lists or maps inside each other"),
        ("{a: " * 3000, "line 1: more than 20 lists or maps inside each other"),
        ("- " * 3000, "line 1: more than 20 lists or maps inside each other"),
        (GIGANTIC, "describes 10,000,000,000 runs, and 10,000 at most are allowed: split it"),
        (f"experiments: [{'{},' * 5001}]\nseeds: [0, 1]", "describes 10,002 runs"),
        ("# " + "x" * 1_000_000, "is larger than 1,000,000 bytes"),
        ("scheduler: tcp://host:8786", "has no TLS: everyone who reaches its port can run code as its owner"),
        ("scheduler: ws://host:8786", "has no TLS"),
        ("scheduler: tls://host:8786\nwithout_tls: 1", "without_tls must be true or false; got 1"),
        ("- method", "must map words to values; its words are common, grid"),
        ("", "must map words to values"),
    ],
)
def test_bad_files_are_refused_in_one_sentence(written, text, message):
    with pytest.raises(InputError, match=message) as caught:
        read_sweep(written(text))
    assert "\n" not in str(caught.value)


def test_a_file_that_is_not_there_and_an_option_that_is_not_known(written, tmp_path):
    with pytest.raises(InputError, match=r"none\.yaml cannot be read \(No such file or directory\)"):
        read_sweep(tmp_path / "none.yaml")
    with pytest.raises(InputError, match="option 'worker' is not known. Did you mean 'workers'"):
        read_sweep(written("common: {method: mixup}"), worker=2)


def test_options_that_do_not_apply_are_named():
    assert Options(workers=2, gpus=1).passed_over() == ""
    assert Options(scheduler="tls://host:1", resources={"GPU": 1}).passed_over() == ""
    assert "tls://host:1 has workers of its own" in Options(scheduler="tls://host:1", workers=2).passed_over()
    assert "tls://host:1 has workers of its own" in Options(scheduler="tls://host:1", gpus=0).passed_over()
    assert "passed over on this machine" in Options(resources={"GPU": 1}).passed_over()


@pytest.mark.parametrize("file", EXAMPLES, ids=lambda file: file.stem)
def test_the_examples_describe_different_experiments(file):
    experiments = read_sweep(file).experiments
    assert len(set(experiments)) == len(experiments) > 10


def test_the_letters_can_be_planned():
    (letters,) = (file for file in EXAMPLES if file.stem == "letters")
    tasks = tasks_of(read_sweep(letters).experiments)
    assert len(tasks) == 36
    assert {task.state for task in tasks} == {"new"}
