using System.Buffers;
using System.Buffers.Binary;
using System.Text;
using System.Text.Json;

namespace Bert4Rec.Serialization;

/// <summary>
/// The safetensors format (https://github.com/huggingface/safetensors): 8 bytes with the header's length, a JSON header of names, types,
/// shapes and offsets, then the values. The writer adds a SHA-256 of the whole file to the metadata, taken with zeros in its own place; the
/// reader refuses a file that does not match it, and accepts one that has none (a state dict saved by PyTorch).
/// </summary>
internal static class SafeTensors
{
    internal const string ChecksumKey = "sha256";

    /// <summary>Says that there is a checksum, so that a damaged "sha256" does not pass for a file without one.</summary>
    internal const string ChecksumMarker = "checksum";

    internal const string MetadataKey = "__metadata__";

    internal const int PrefixLength = sizeof(ulong);

    /// <summary>As in the reference implementation: no header needs more, and a damaged length must not ask for the whole memory.</summary>
    internal const int MaximumHeaderLength = 100_000_000;

    internal static readonly byte[] ChecksumProperty = Encoding.UTF8.GetBytes($"\"{ChecksumKey}\":\"");

    internal static readonly byte[] ChecksumPlaceholder = Encoding.UTF8.GetBytes(new string('0', Sha256.TextLength));

    /// <summary>Opens a file, checks all of it, and keeps it open for its tensors to be read.</summary>
    /// <exception cref="InputException">The file is missing, truncated, damaged, or not safetensors.</exception>
    public static SafeTensorsFile Read(string path)
    {
        var file = new SafeTensorsFile(path, InputFile.Open(path));
        try
        {
            file.Load();
            return file;
        }
        catch
        {
            file.Dispose();
            throw;
        }
    }

    /// <summary>
    /// Writes or replaces a file, at once or not at all. The same tensors and metadata give the same bytes, in whatever order.
    /// </summary>
    /// <exception cref="InputException">Names and metadata are longer than the format allows.</exception>
    /// <exception cref="ArgumentException">A name or a metadata key stands twice or is the format's own.</exception>
    public static void Write(string path, IEnumerable<NamedTensor> tensors, IReadOnlyDictionary<string, string>? metadata = null)
    {
        // Widest elements first keeps every tensor aligned; the order of the reference implementation.
        NamedTensor[] ordered = [.. tensors.OrderByDescending(t => t.ElementSize).ThenBy(t => t.Name, StringComparer.Ordinal)];
        byte[] file = BuildHeader(path, ordered, metadata ?? new Dictionary<string, string>());

        using var hash = new Sha256();
        hash.Add(file);
        foreach (NamedTensor tensor in ordered)
            tensor.ForEachPiece(hash.Add);
        int checksumStart = file.AsSpan().IndexOf(ChecksumProperty) + ChecksumProperty.Length;
        Encoding.UTF8.GetBytes(hash.Finish(), file.AsSpan(checksumStart));

        OutputFile.Write(path, stream =>
        {
            stream.Write(file);
            foreach (NamedTensor tensor in ordered)
                tensor.ForEachPiece(stream.Write);
        });
    }

    /// <summary>The file up to its data: length, JSON with zeros for the checksum, spaces up to a multiple of 8.</summary>
    private static byte[] BuildHeader(string path, NamedTensor[] tensors, IReadOnlyDictionary<string, string> metadata)
    {
        var names = new HashSet<string>(StringComparer.Ordinal) { MetadataKey };
        var buffer = new ArrayBufferWriter<byte>();
        buffer.Write(stackalloc byte[PrefixLength]);
        using (var json = new Utf8JsonWriter(buffer))
        {
            json.WriteStartObject();
            json.WriteStartObject(MetadataKey);
            json.WriteString(ChecksumMarker, ChecksumKey);
            json.WriteString(ChecksumKey, ChecksumPlaceholder);
            foreach ((string key, string value) in metadata.OrderBy(entry => entry.Key, StringComparer.Ordinal))
            {
                if (key is ChecksumKey or ChecksumMarker)
                    throw new ArgumentException($"the metadata key '{key}' is the writer's own", nameof(metadata));
                json.WriteString(key, value);
            }
            json.WriteEndObject();
            long offset = 0;
            foreach (NamedTensor tensor in tensors)
            {
                if (!names.Add(tensor.Name))
                    throw new ArgumentException($"the name '{tensor.Name}' cannot be given to a tensor twice", nameof(tensors));
                json.WriteStartObject(tensor.Name);
                json.WriteString("dtype", tensor.DataType);
                json.WriteStartArray("shape");
                foreach (int size in tensor.Shape)
                    json.WriteNumberValue(size);
                json.WriteEndArray();
                json.WriteStartArray("data_offsets");
                json.WriteNumberValue(offset);
                json.WriteNumberValue(offset += tensor.ByteLength);
                json.WriteEndArray();
                json.WriteEndObject();
            }
            json.WriteEndObject();
        }
        int padding = -buffer.WrittenCount & (PrefixLength - 1);
        buffer.GetSpan(padding)[..padding].Fill((byte)' ');
        buffer.Advance(padding);
        int headerLength = buffer.WrittenCount - PrefixLength;
        if (headerLength > MaximumHeaderLength)
            throw new InputException($"{path}: names and metadata take {headerLength} bytes; safetensors allows {MaximumHeaderLength}");
        byte[] file = buffer.WrittenSpan.ToArray();
        BinaryPrimitives.WriteUInt64LittleEndian(file, (ulong)headerLength);
        return file;
    }
}
