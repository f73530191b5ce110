"""Train the demo model on scikit-learn's handwritten digits and write it as ONNX.

    pip install -r requirements.txt && python train.py

Writes 1/model.onnx, labels.txt and example.json (a Triton v2 inference request holding one digit the model was
not trained on) beside this file, and prints the accuracy on the held-out quarter. The seed is fixed, so the same
package versions give the same file.

    python train.py --data train.csv --out out

Trains on all rows of a CSV file instead (64 pixels p0 to p63, label) and writes 1/model.onnx and labels.txt below
another folder: what the pipeline config/jobs/digits.yaml does.
"""

import argparse
import csv
import json
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier

SEED = 7
HERE = Path(__file__).resolve().parent


def to_onnx(classifier: MLPClassifier, pixel_max: float) -> onnx.ModelProto:
    """The whole pipeline in one graph: raw pixels in, label and probabilities out. The batch dimension is dynamic."""
    initializers = [numpy_helper.from_array(np.float32(1 / pixel_max).reshape(1), "scale")]
    nodes = [helper.make_node("Mul", ["image", "scale"], ["layer0"])]
    last = len(classifier.coefs_) - 1
    for i, (weights, bias) in enumerate(zip(classifier.coefs_, classifier.intercepts_)):
        initializers.append(numpy_helper.from_array(weights.astype(np.float32), f"weights{i}"))
        initializers.append(numpy_helper.from_array(bias.astype(np.float32), f"bias{i}"))
        nodes.append(helper.make_node("Gemm", [f"layer{i}", f"weights{i}", f"bias{i}"], [f"sum{i}"]))
        if i < last:
            nodes.append(helper.make_node("Relu", [f"sum{i}"], [f"layer{i + 1}"]))
    nodes.append(helper.make_node("Softmax", [f"sum{last}"], ["probabilities"], axis=1))
    nodes.append(helper.make_node("ArgMax", [f"sum{last}"], ["label"], axis=1, keepdims=1))
    graph = helper.make_graph(
        nodes,
        "digits",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["batch", 64])],
        [
            helper.make_tensor_value_info("label", TensorProto.INT64, ["batch", 1]),
            helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["batch", 10]),
        ],
        initializers,
        doc_string="8x8 handwritten digits, pixels 0 to 16, row by row",
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], producer_name="switchyard-demo")
    model.ir_version = 8
    onnx.checker.check_model(model, full_check=True)
    return model


def read_csv(path: str) -> tuple[np.ndarray, np.ndarray]:
    with open(path, newline="") as file:
        rows = list(csv.DictReader(file))
    images = np.array([[float(row[f"p{i}"]) for i in range(64)] for row in rows])
    return images, np.array([int(row["label"]) for row in rows])


def main() -> None:
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--data", help="CSV file to train on; default: three quarters of scikit-learn's digits")
    arguments.add_argument("--out", type=Path, default=HERE)
    arguments.add_argument("--seed", type=int, default=SEED)
    arguments.add_argument("--hidden", type=int, default=64, help="neurons of the hidden layer")
    options = arguments.parse_args()

    if options.data is None:
        images, labels = load_digits(return_X_y=True)
        train_x, test_x, train_y, test_y = train_test_split(
            images, labels, test_size=0.25, random_state=options.seed, stratify=labels
        )
    else:
        train_x, train_y = read_csv(options.data)
    pixel_max = 16.0
    classifier = MLPClassifier(
        hidden_layer_sizes=(options.hidden,), alpha=1e-3, max_iter=500, random_state=options.seed
    )
    classifier.fit(train_x / pixel_max, train_y)
    print(f"train_loss={classifier.loss_:.6f} iterations={classifier.n_iter_}")

    (options.out / "1").mkdir(parents=True, exist_ok=True)
    onnx.save(to_onnx(classifier, pixel_max), options.out / "1" / "model.onnx")
    (options.out / "labels.txt").write_text("".join(f"{label}\n" for label in classifier.classes_))
    if options.data is not None:
        return

    print(f"test accuracy: {classifier.score(test_x / pixel_max, test_y):.4f} on {len(test_y)} digits")
    picked = next(i for i, label in enumerate(test_y) if label == 3)
    request = {
        "inputs": [{"name": "image", "datatype": "FP32", "shape": [1, 64], "data": [int(v) for v in test_x[picked]]}]
    }
    (options.out / "example.json").write_text(json.dumps(request) + "\n")


if __name__ == "__main__":
    main()
