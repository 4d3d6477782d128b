"""`make proto`: write `descriptors.py` from `inference.proto`. Needs grpcio-tools, which tests have."""

import sys
import tempfile
from base64 import b85encode
from pathlib import Path
from textwrap import wrap

from google.protobuf.descriptor_pb2 import FileDescriptorSet
from grpc_tools import protoc

ROOT = Path(__file__).resolve().parents[4]
SOURCE = "service/pb/inference.proto"
TARGET = ROOT / "service/pb/descriptors.py"
HEAD = '''"""Generated from `inference.proto` by `make proto`; do not edit."""

from base64 import b85decode

SERIALIZED = b85decode(
'''


def serialized() -> bytes:
    """The file's descriptor, without comments and positions."""
    with tempfile.TemporaryDirectory() as directory:
        out = Path(directory) / "out"
        code = protoc.main(["protoc", f"-I{ROOT}", f"--descriptor_set_out={out}", str(ROOT / SOURCE)])
        if code:
            sys.exit(code)
        (file,) = FileDescriptorSet.FromString(out.read_bytes()).file
        return bytes(file.SerializeToString(deterministic=True))


def text() -> str:
    """What `descriptors.py` ought to hold."""
    lines = wrap(b85encode(serialized()).decode(), 100)
    return HEAD + "".join(f'    b"{line}"\n' for line in lines) + ")\n"


if __name__ == "__main__":
    TARGET.write_text(text())
