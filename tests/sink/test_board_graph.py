"""The graph of a computation in TensorBoard: read back as TensorBoard reads it."""

from __future__ import annotations

from tensorboard.backend.event_processing.event_file_loader import RawEventFileLoader
from tensorboard.compat.proto import event_pb2, graph_pb2

from calclab.figure.records import Edge, GraphPanel, Joint
from calclab.sink.eventfile import EventFile
from calclab.sink.figures import board_nodes

JOINTS = (
    Joint("x", "", 2.0, 300.0, (0, 0), (1, 1)),
    Joint("hidden.0", "x**2", 4.0, 75.0, (2, 0), (1, 1)),
    Joint("f", "v**3", 64.0, 1.0, (4, 0), (1, 1)),
)
PANEL = GraphPanel("", JOINTS, (Edge(0, 1, (), 4.0, 300.0), Edge(1, 2, (), 75.0, 75.0)), (5, 1), True, False, True)


def test_nodes_edges_and_numbers_are_there(tmp_path):
    file = EventFile(tmp_path)
    file.graph(board_nodes(PANEL))
    file.close()
    events = [event_pb2.Event.FromString(raw) for raw in RawEventFileLoader(str(file.path)).Load()]
    (found,) = [event for event in events if event.WhichOneof("what") == "graph_def"]
    graph = graph_pb2.GraphDef.FromString(found.graph_def)
    assert [(node.name, node.op, list(node.input)) for node in graph.node] == [
        ("x", "input", []), ("hidden/0", "x**2", ["x"]), ("f", "v**3", ["hidden/0"])
    ]  # fmt: skip
    beside = {key: value.s.decode() for key, value in graph.node[1].attr.items()}
    assert beside == {"value": "4", "adjoint": "75", "x: local derivative": "4"}
