"""A few lines that run an exported model without egodepth, in Python and in C++."""

from egodepth.deployment.configurations import FormatName

PYTHON = '''"""Depth of example.png by {title}: pip install numpy pillow {install}"""

import numpy as np
{imports}
from PIL import Image

picture = Image.open("example.png").convert("RGB").resize(({width}, {height}), Image.Resampling.LANCZOS)
image = np.asarray(picture, np.float32).transpose(2, 0, 1)[None] / 255
{before}{run}
expected = np.load("example.npy")
print("depth", depth.shape, "median", np.median(depth), "deviation", np.abs(depth / expected - 1).mean())
'''

BEFORE = "image = np.concatenate([image, np.zeros_like(image)], axis=1)  # the frame before it; black is none\n"

RUN: dict[FormatName, tuple[str, str, str]] = {
    "onnx": (
        "onnxruntime",
        "import onnxruntime",
        'session = onnxruntime.InferenceSession("model.onnx")\n'
        'depth = session.run(["depth"], {"image": image})[0][0, 0]  # metres, or up to scale: see config.json',
    ),
    "openvino": (
        "openvino",
        "import openvino",
        'exact = {"INFERENCE_PRECISION_HINT": "f32"}  # without it, bfloat16 where the processor has it\n'
        'model = openvino.Core().compile_model("model.xml", "CPU", exact)\n'
        "depth = model([image])[0][0, 0]  # metres, or up to scale: see config.json",
    ),
    "torch-export": (
        "torch",
        "import torch",
        'model = torch.export.load("model.pt2").module()\n'
        "depth = model(torch.from_numpy(image)).detach().numpy()[0, 0]  # metres, or up to scale: see config.json",
    ),
    "coreml": (
        "coremltools",
        "import coremltools",
        'model = coremltools.models.MLModel("model.mlpackage")  # runs on macOS\n'
        'depth = model.predict({"image": image})["depth"][0, 0]  # metres, or up to scale: see config.json',
    ),
    "ncnn": (
        "ncnn",
        "import ncnn",
        "net = ncnn.Net()\n"
        'net.load_param("model.ncnn.param")\n'
        'net.load_model("model.ncnn.bin")\n'
        "extractor = net.create_extractor()\n"
        "pixels = np.ascontiguousarray(image[0])  # has to live until ncnn has copied it\n"
        'extractor.input("in0", ncnn.Mat(pixels).clone())\n'
        'depth = np.array(extractor.extract("out0")[1])[0]  # metres, or up to scale: see config.json',
    ),
    "litert": (
        "ai-edge-litert",
        "from ai_edge_litert.interpreter import Interpreter",
        'run = Interpreter(model_path="model.tflite").get_signature_runner()\n'
        'depth = run(image=np.ascontiguousarray(image))["output_0"][0, 0]  # metres, or up to scale: see config.json',
    ),
    "executorch": (
        "torch executorch",
        "import torch\nfrom executorch.runtime import Runtime",
        'method = Runtime.get().load_program("model.pte").load_method("forward")\n'
        "[depth] = method.execute([torch.from_numpy(np.ascontiguousarray(image))])\n"
        "depth = depth.numpy()[0, 0]  # metres, or up to scale: see config.json",
    ),
}

CPP_ONNX = """// Depth of one image by ONNX Runtime: g++ -std=c++17 run.cpp -lonnxruntime
#include <onnxruntime_cxx_api.h>
#include <cstdio>
#include <vector>

int main() {
  Ort::Env env;
  Ort::Session session(env, "model.onnx", Ort::SessionOptions{});
  std::vector<float> image(%(channels)d * %(height)d * %(width)d, 0.5f);  // RGB in [0, 1], plane after plane
  const int64_t shape[] = {1, %(channels)d, %(height)d, %(width)d};
  auto memory = Ort::MemoryInfo::CreateCpu(OrtArenaAllocator, OrtMemTypeDefault);
  auto input = Ort::Value::CreateTensor<float>(memory, image.data(), image.size(), shape, 4);
  const char *inputs[] = {"image"}, *outputs[] = {"depth"};
  auto depth = session.Run(Ort::RunOptions{}, inputs, &input, 1, outputs, 1);
  std::printf("depth of the first pixel: %%f\\n", depth[0].GetTensorData<float>()[0]);
}
"""

CPP_OPENVINO = """// Depth of one image by OpenVINO: g++ -std=c++17 run.cpp -lopenvino
#include <openvino/openvino.hpp>
#include <algorithm>
#include <cstdio>

int main() {
  ov::Core core;
  auto exact = ov::hint::inference_precision(ov::element::f32);  // without it, bfloat16 where the processor has it
  auto request = core.compile_model("model.xml", "CPU", exact).create_infer_request();
  ov::Tensor image(ov::element::f32, {1, %(channels)d, %(height)d, %(width)d});  // RGB in [0, 1], plane after plane
  std::fill_n(image.data<float>(), image.get_size(), 0.5f);
  request.set_input_tensor(image);
  request.infer();
  std::printf("depth of the first pixel: %%f\\n", request.get_output_tensor().data<float>()[0]);
}
"""

CPP_NCNN = """// Depth of one image by ncnn: g++ -std=c++17 run.cpp -lncnn
#include <ncnn/net.h>
#include <cstdio>

int main() {
  ncnn::Net net;
  if (net.load_param("model.ncnn.param") != 0 || net.load_model("model.ncnn.bin") != 0) return 1;
  ncnn::Mat image(%(width)d, %(height)d, %(channels)d), depth;  // RGB in [0, 1]; channel(i) is a plane
  image.fill(0.5f);
  ncnn::Extractor extractor = net.create_extractor();
  extractor.input("in0", image);
  if (extractor.extract("out0", depth) != 0) return 1;
  std::printf("depth of the first pixel: %%f\\n", depth.channel(0).row(0)[0]);
}
"""

CPP: dict[FormatName, str] = {"onnx": CPP_ONNX, "openvino": CPP_OPENVINO, "ncnn": CPP_NCNN}


def snippets_of(form: FormatName, height: int, width: int, channels: int) -> dict[str, str]:
    """The files of code for a folder, by name."""
    install, imports, run = RUN[form]
    before = BEFORE if channels > 3 else ""
    python = PYTHON.format(
        title=install, install=install, imports=imports, height=height, width=width, before=before, run=run
    )
    code = {"run.py": python}
    if form in CPP:
        code["run.cpp"] = CPP[form] % {"height": height, "width": width, "channels": channels}
    return code
