"""Which GPU is whose."""

from pelton.workers.supervisor.gpus import gpu_for, visible_gpus


def test_gpus_are_those_this_process_may_use(tmp_path):
    """As the environment names them, else all the driver shows; a single worker keeps what there is."""
    for name in ("nvidia0", "nvidia1", "nvidiactl", "nvidia-uvm"):
        (tmp_path / name).touch()
    assert visible_gpus({"CUDA_VISIBLE_DEVICES": "3, GPU-x"}, tmp_path) == ["3", "GPU-x"]
    assert visible_gpus({"CUDA_VISIBLE_DEVICES": ""}, tmp_path) == []
    assert visible_gpus({}, tmp_path) == ["0", "1"]
    assert gpu_for(0, 1, ["0", "1"]) == {}
    assert gpu_for(2, 3, ["0", "1"]) == {"CUDA_VISIBLE_DEVICES": "0"}
    assert gpu_for(1, 2, []) == {}
