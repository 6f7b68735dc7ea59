using System.Runtime.InteropServices;
using Bert4Rec.Serialization;

namespace Bert4Rec.Export;

/// <summary>
/// A graph of ONNX operators that grows node by node, and is written as a ModelProto of protobuf (onnx.proto of the ONNX specification, IR
/// version 8, opset 17). Of that schema it knows the messages that a network needs; the numbers of their fields stand beside the names.
/// </summary>
internal sealed class OnnxGraph
{
    private const int IrVersion = 8, Opset = 17;

    private readonly ProtobufMessage _graph = new();
    private int _nodes;

    public enum ElementType
    {
        Float = 1,
        Int64 = 7,
        Bool = 9,
    }

    public OnnxGraph(string name) => _graph.Text(2, name);

    /// <summary>An input of the graph; a size of -1 goes by its name alone.</summary>
    public void Input(string name, ElementType type, params (string Name, long Size)[] shape) => Value(11, name, type, shape);

    /// <inheritdoc cref="Input"/>
    public void Output(string name, ElementType type, params (string Name, long Size)[] shape) => Value(12, name, type, shape);

    /// <summary>Parameters, whose memory is read when the graph is written.</summary>
    public string Constant(string name, ReadOnlyMemory<float> values, params long[] shape) =>
        Tensor(name, ElementType.Float, shape, 4L * values.Length, stream => stream.Write(MemoryMarshal.AsBytes(values.Span)));

    public string Constant(string name, float value) => Constant(name, new[] { value });

    /// <summary>A vector of whole numbers.</summary>
    public string Integers(string name, params long[] values) => Tensor(
        name, ElementType.Int64, [values.Length], 8L * values.Length, stream => stream.Write(MemoryMarshal.AsBytes(values.AsSpan())));

    /// <summary>A single whole number, without a dimension.</summary>
    public string Integer(string name, long value) =>
        Tensor(name, ElementType.Int64, [], 8, stream => stream.Write(BitConverter.GetBytes(value)));

    /// <summary>Adds an operator.</summary>
    /// <param name="inputs">What it reads.</param>
    /// <param name="attributes">Its attributes: long, float or long[].</param>
    /// <returns>The name of its only output.</returns>
    public string Node(string operation, string[] inputs, params (string Name, object Value)[] attributes) =>
        Named($"{operation}_{++_nodes}", operation, inputs, attributes);

    /// <inheritdoc cref="Node"/>
    public string Named(string output, string operation, string[] inputs, params (string Name, object Value)[] attributes)
    {
        var node = new ProtobufMessage();
        foreach (string input in inputs)
            node.Text(1, input);
        node.Text(2, output).Text(3, output).Text(4, operation);
        foreach ((string name, object value) in attributes)
        {
            ProtobufMessage attribute = new ProtobufMessage().Text(1, name);
            node.Nested(5, value switch
            {
                float number => attribute.Single(2, number).Varint(20, 1),
                long number => attribute.Varint(3, number).Varint(20, 2),
                long[] numbers => numbers.Aggregate(attribute, (all, number) => all.Varint(8, number)).Varint(20, 7),
                _ => throw new ArgumentException($"an attribute of type {value.GetType()}", nameof(attributes)),
            });
        }
        _graph.Nested(1, node);
        return output;
    }

    /// <summary>Writes the model.</summary>
    /// <param name="metadata">What else it says of itself.</param>
    /// <exception cref="InputException">It is larger than a message of protobuf may be.</exception>
    public void Write(Stream stream, IEnumerable<KeyValuePair<string, string>> metadata)
    {
        ProtobufMessage model = new ProtobufMessage().Varint(1, IrVersion).Text(2, "bert4rec").Nested(7, _graph)
            .Nested(8, new ProtobufMessage().Text(1, "").Varint(2, Opset));
        foreach ((string key, string value) in metadata)
            model.Nested(14, new ProtobufMessage().Text(1, key).Text(2, value));
        if (model.Length > int.MaxValue)
        {
            throw new InputException(
                $"the ONNX file would have {model.Length / 1e9:F1} GB, and may have 2: the catalogue is too large for it");
        }
        model.WriteTo(stream);
    }

    private void Value(int field, string name, ElementType type, (string Name, long Size)[] shape)
    {
        var dimensions = new ProtobufMessage();
        foreach ((string symbol, long size) in shape)
            dimensions.Nested(1, size < 0 ? new ProtobufMessage().Text(2, symbol) : new ProtobufMessage().Varint(1, size));
        var tensor = new ProtobufMessage().Varint(1, (long)type).Nested(2, dimensions);
        _graph.Nested(field, new ProtobufMessage().Text(1, name).Nested(2, new ProtobufMessage().Nested(1, tensor)));
    }

    private string Tensor(string name, ElementType type, long[] shape, long bytes, Action<Stream> write)
    {
        var tensor = shape.Aggregate(new ProtobufMessage(), (message, side) => message.Varint(1, side));
        _graph.Nested(5, tensor.Varint(2, (long)type).Text(8, name).Raw(9, bytes, write));
        return name;
    }
}
