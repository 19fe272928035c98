"""The files of deploy/, parsed as TensorFlow Serving does."""

import yaml
from google.protobuf import (
    descriptor_pb2,
    descriptor_pool,
    message_factory,
    text_format,
    wrappers_pb2,
)
from helpers.commands import ROOT
from tensorflow_serving.config import model_server_config_pb2


def test_the_model_config_names_what_the_compose_file_mounts():
    config = model_server_config_pb2.ModelServerConfig()
    text_format.Parse((ROOT / "deploy/models.config").read_text(), config)
    (model,) = config.model_config_list.config
    assert (model.model_platform, model.base_path) == ("tensorflow", f"/models/{model.name}")
    assert model.model_version_policy.latest.num_versions == 2
    compose = yaml.safe_load((ROOT / "deploy/docker-compose.yml").read_text())
    serving = compose["services"]["serving"]
    assert serving["image"].startswith("tensorflow/serving:")
    mounted = dict(volume.split(":")[:2] for volume in serving["volumes"])
    assert mounted["./models"] == "/models"
    for option in serving["command"]:
        value = option.split("=")[1]
        if value.startswith("/"):
            (source,) = (s for s, target in mounted.items() if target == value)
            assert (ROOT / "deploy" / source).is_file()


def message(classes: dict[str, dict[str, tuple[int, str]]]):
    """Builds a message of TF Serving that tensorflow-serving-api lacks: the last of `classes`.

    Args:
        classes: by name, the number and type of each field of a message.

    Source: tensorflow_serving/servables/tensorflow/session_bundle_config.proto and
    tensorflow_serving/config/monitoring_config.proto.
    """
    types = {"int64": 3, "bool": 8, "string": 9}
    *_, last = classes
    file = descriptor_pb2.FileDescriptorProto(name=f"{last}.proto", package="files")
    file.syntax = "proto3"
    file.dependency.append(wrappers_pb2.DESCRIPTOR.name)
    for name, fields in classes.items():
        entry = file.message_type.add(name=name)
        for field, (number, kind) in fields.items():
            repeated, kind = kind.startswith("repeated "), kind.removeprefix("repeated ")
            added = entry.field.add(name=field, number=number, label=3 if repeated else 1)
            added.type = types.get(kind, 11)
            if kind not in types:
                added.type_name = f".{kind}"
    pool = descriptor_pool.Default()
    pool.AddSerializedFile(file.SerializeToString())
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(f"files.{last}"))()


def test_the_batching_file_is_valid():
    whole, text = "google.protobuf.Int64Value", "google.protobuf.StringValue"
    fields = {
        "max_batch_size": (1, whole),
        "batch_timeout_micros": (2, whole),
        "max_enqueued_batches": (3, whole),
        "num_batch_threads": (4, whole),
        "thread_pool_name": (5, text),
        "allowed_batch_sizes": (6, "repeated int64"),
        "pad_variable_length_inputs": (7, "bool"),
    }
    config = message({"BatchingParameters": fields})
    text_format.Parse((ROOT / "deploy/batching.config").read_text(), config)
    assert config.max_batch_size.value == 16
    assert not config.pad_variable_length_inputs  # zeros would become part of the image


def test_the_monitoring_file_is_valid():
    config = message(
        {
            "PrometheusConfig": {"enable": (1, "bool"), "path": (2, "string")},
            "MonitoringConfig": {"prometheus_config": (1, "files.PrometheusConfig")},
        }
    )
    text_format.Parse((ROOT / "deploy/monitoring.config").read_text(), config)
    prometheus = yaml.safe_load((ROOT / "deploy/prometheus.yml").read_text())
    assert config.prometheus_config.enable
    assert prometheus["scrape_configs"][0]["metrics_path"] == config.prometheus_config.path
