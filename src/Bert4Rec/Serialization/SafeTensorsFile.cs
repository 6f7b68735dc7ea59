using System.Buffers.Binary;
using System.Runtime.InteropServices;
using System.Text;
using System.Text.Json;

namespace Bert4Rec.Serialization;

/// <summary>
/// A safetensors file open for reading. Everything that the header says was checked against the file when it was opened; the values are
/// read when they are asked for, so that the tensors nobody wants cost no memory.
/// </summary>
internal sealed class SafeTensorsFile(string path, FileStream file) : IDisposable
{
    private static readonly JsonDocumentOptions StrictJson = new() { AllowDuplicateProperties = false };

    private readonly Dictionary<string, Entry> _entries = new(StringComparer.Ordinal);
    private readonly Dictionary<string, string> _metadata = new(StringComparer.Ordinal);
    private long _dataStart;

    /// <summary>The header's <c>__metadata__</c>, the checksum's keys included.</summary>
    public IReadOnlyDictionary<string, string> Metadata => _metadata;

    /// <summary>The tensors, in the header's order.</summary>
    public IReadOnlyCollection<string> Names => _entries.Keys;

    /// <exception cref="InputException">The file has no such tensor.</exception>
    public IReadOnlyList<int> Shape(string name) => Find(name).Shape;

    /// <summary>The values of an F32, F64, F16 or BF16 tensor.</summary>
    /// <exception cref="InputException">The file has no such tensor, or one of another type.</exception>
    public float[] ReadFloats(string name)
    {
        Entry entry = Find(name);
        return entry.DataType switch
        {
            "F32" => ReadValues<float>(entry),
            "F64" => Array.ConvertAll(ReadValues<double>(entry), x => (float)x),
            "F16" => Array.ConvertAll(ReadValues<Half>(entry), x => (float)x),
            "BF16" => Array.ConvertAll(ReadValues<ushort>(entry), x => BitConverter.UInt32BitsToSingle((uint)x << 16)),
            _ => throw WrongType(name, entry, "floating point"),
        };
    }

    /// <summary>The values of an I32 or I64 tensor.</summary>
    /// <exception cref="InputException">The file has no such tensor, one of another type, or a value beyond 32 bits.</exception>
    public int[] ReadInts(string name)
    {
        Entry entry = Find(name);
        return entry.DataType switch
        {
            "I32" => ReadValues<int>(entry),
            "I64" => Array.ConvertAll(ReadValues<long>(entry), x => x is >= int.MinValue and <= int.MaxValue
                ? (int)x
                : throw Damaged($"the tensor '{name}' holds {x}, which does not fit 32 bits")),
            _ => throw WrongType(name, entry, "integers"),
        };
    }

    /// <summary>The values of a U8 tensor.</summary>
    /// <exception cref="InputException">The file has no such tensor, or one of another type.</exception>
    public byte[] ReadBytes(string name) => Find(name) is { DataType: "U8" } entry
        ? ReadValues<byte>(entry)
        : throw WrongType(name, Find(name), "bytes");

    public void Dispose() => file.Dispose();

    /// <summary>Reads the header, and checks it and all that follows.</summary>
    internal void Load()
    {
        long fileLength = RandomAccess.GetLength(file.SafeFileHandle);
        if (fileLength < SafeTensors.PrefixLength)
            throw Damaged($"{fileLength} bytes are too few for a safetensors file; it is truncated or another kind of file");
        var prefix = new byte[SafeTensors.PrefixLength];
        ReadBytes(prefix, 0);
        ulong headerLength = BinaryPrimitives.ReadUInt64LittleEndian(prefix);
        if (headerLength > SafeTensors.MaximumHeaderLength)
            throw Damaged(
                $"the header would be {headerLength} bytes (at most {SafeTensors.MaximumHeaderLength}); this is no safetensors file");
        _dataStart = SafeTensors.PrefixLength + (long)headerLength;
        if (_dataStart > fileLength)
            throw Damaged($"the header should end at byte {_dataStart}, the file at {fileLength}: it is truncated");

        var header = new byte[headerLength];
        ReadBytes(header, SafeTensors.PrefixLength);
        try
        {
            using JsonDocument json = JsonDocument.Parse(header, StrictJson);
            ParseHeader(json.RootElement);
        }
        // InvalidOperationException is what the parser gives for text that is not Unicode (half of a surrogate pair).
        catch (Exception e) when (e is JsonException or InvalidOperationException)
        {
            throw new InputException($"{path}: the header is not valid JSON ({e.Message})", e);
        }
        CheckOffsets(fileLength - _dataStart);
        VerifyChecksum(prefix, header, fileLength);
    }

    private void ParseHeader(JsonElement root)
    {
        if (root.ValueKind != JsonValueKind.Object)
            throw Damaged("the header is not a JSON object");
        foreach (JsonProperty property in root.EnumerateObject())
        {
            if (property.Value.ValueKind != JsonValueKind.Object)
                throw Damaged($"'{property.Name}' in the header is not a JSON object");
            if (property.Name == SafeTensors.MetadataKey)
            {
                foreach (JsonProperty entry in property.Value.EnumerateObject())
                    _metadata.Add(entry.Name, entry.Value.ValueKind == JsonValueKind.String
                        ? entry.Value.GetString()!
                        : throw Damaged($"the metadata '{entry.Name}' is not a string"));
            }
            else
            {
                _entries.Add(property.Name, ParseEntry(property.Name, property.Value));
            }
        }
    }

    private Entry ParseEntry(string name, JsonElement json)
    {
        if (!json.TryGetProperty("dtype", out JsonElement dataType) || dataType.ValueKind != JsonValueKind.String
            || ElementSize(dataType.GetString()!) is not (> 0 and int elementSize))
            throw Damaged($"the tensor '{name}' has no dtype that safetensors knows");
        long[] shape = ParseNumbers(name, json, "shape");
        long[] offsets = ParseNumbers(name, json, "data_offsets");
        if (offsets.Length != 2 || offsets[0] > offsets[1])
            throw Damaged($"the data_offsets of the tensor '{name}' are not a begin and an end");
        // The limits of .NET's arrays; no factor or product overflows, so the length below means what it says.
        long elements = 1;
        foreach (long size in shape)
        {
            if (size > Array.MaxLength || (elements *= size) > Array.MaxLength)
                throw Damaged($"the tensor '{name}' is larger than {Array.MaxLength} elements");
        }
        if (elements * elementSize != offsets[1] - offsets[0])
        {
            throw Damaged($"the tensor '{name}' of the shape [{string.Join(", ", shape)}] and type {dataType} "
                + $"needs {elements * elementSize} bytes, but its data_offsets span {offsets[1] - offsets[0]}");
        }
        return new Entry(dataType.GetString()!, Array.ConvertAll(shape, size => (int)size), (int)elements, offsets[0], offsets[1]);
    }

    private long[] ParseNumbers(string name, JsonElement json, string key)
    {
        if (!json.TryGetProperty(key, out JsonElement array) || array.ValueKind != JsonValueKind.Array)
            throw Damaged($"the tensor '{name}' has no {key}");
        return [.. array.EnumerateArray().Select(element =>
            element.ValueKind == JsonValueKind.Number && element.TryGetInt64(out long value) && value >= 0
                ? value
                : throw Damaged($"{element} in the {key} of the tensor '{name}' is not a whole number from 0"))];
    }

    /// <summary>The format wants the tensors to lie one after the other from the first byte of the data to the last.</summary>
    private void CheckOffsets(long dataLength)
    {
        long end = 0;
        foreach ((string name, Entry entry) in _entries.OrderBy(e => e.Value.Begin).ThenBy(e => e.Value.End))
        {
            if (entry.End > dataLength)
            {
                throw Damaged($"the tensor '{name}' ends at byte {_dataStart + entry.End}, the file at {_dataStart + dataLength}: "
                    + "it is truncated");
            }
            if (entry.Begin != end)
                throw Damaged($"the tensor '{name}' begins at byte {entry.Begin} of the data, the one before it ends at {end}");
            end = entry.End;
        }
        if (end != dataLength)
            throw Damaged($"{dataLength - end} bytes after the last tensor belong to none");
    }

    private void VerifyChecksum(byte[] prefix, byte[] header, long fileLength)
    {
        bool hasChecksum = _metadata.TryGetValue(SafeTensors.ChecksumKey, out string? expected);
        if (!hasChecksum && !_metadata.ContainsKey(SafeTensors.ChecksumMarker))
            return;
        int start = header.AsSpan().IndexOf(SafeTensors.ChecksumProperty) + SafeTensors.ChecksumProperty.Length;
        if (!hasChecksum || expected!.Length != SafeTensors.ChecksumPlaceholder.Length || start < SafeTensors.ChecksumProperty.Length
            || !header.AsSpan(start).StartsWith(Encoding.UTF8.GetBytes(expected)))
            throw ChecksumMismatch();
        SafeTensors.ChecksumPlaceholder.CopyTo(header, start);

        using var hash = new Sha256();
        hash.Add(prefix);
        hash.Add(header);
        var buffer = new byte[Math.Min(1 << 20, fileLength - _dataStart)];
        for (long position = _dataStart; position < fileLength; position += buffer.Length)
        {
            Span<byte> piece = buffer.AsSpan(0, (int)Math.Min(buffer.Length, fileLength - position));
            ReadBytes(piece, position);
            hash.Add(piece);
        }
        if (hash.Finish() != expected)
            throw ChecksumMismatch();

        InputException ChecksumMismatch() => Damaged("its SHA-256 is not the one written in it: the file was altered or damaged");
    }

    private T[] ReadValues<T>(Entry entry)
        where T : unmanaged
    {
        // Piece by piece: the bytes of a large tensor are more than a span holds.
        const int PieceLength = 1 << 20;
        var values = new T[entry.Elements];
        long position = _dataStart + entry.Begin;
        for (int start = 0; start < values.Length; start += PieceLength)
        {
            Span<byte> bytes = MemoryMarshal.AsBytes(values.AsSpan(start, Math.Min(PieceLength, values.Length - start)));
            ReadBytes(bytes, position);
            position += bytes.Length;
        }
        return values;
    }

    private void ReadBytes(Span<byte> destination, long position)
    {
        while (destination.Length > 0)
        {
            int count = RandomAccess.Read(file.SafeFileHandle, destination, position);
            if (count == 0)
                throw Damaged($"it ended at byte {position} while it was read");
            destination = destination[count..];
            position += count;
        }
    }

    private Entry Find(string name) => _entries.TryGetValue(name, out Entry? entry)
        ? entry
        : throw Damaged($"there is no tensor '{name}' in it");

    private InputException WrongType(string name, Entry entry, string wanted) =>
        Damaged($"the tensor '{name}' is of type {entry.DataType}, not {wanted}");

    private InputException Damaged(string what) => new($"{path}: {what}");

    private static int ElementSize(string dataType) => dataType switch
    {
        "BOOL" or "U8" or "I8" or "F8_E4M3" or "F8_E5M2" => 1,
        "U16" or "I16" or "F16" or "BF16" => 2,
        "U32" or "I32" or "F32" => 4,
        "U64" or "I64" or "F64" => 8,
        _ => 0,
    };

    private sealed record Entry(string DataType, int[] Shape, int Elements, long Begin, long End);
}
