using System.Runtime.InteropServices;
using System.Text;

namespace Bert4Rec.Export;

/// <summary>Writes arrays as NumPy's .npy (format version 1.0, little-endian, C order).</summary>
internal static class NpyFile
{
    /// <summary>Bytes before the array are a multiple of these.</summary>
    private const int Alignment = 64;

    /// <summary>A matrix of float32, or a vector.</summary>
    public static void Write(Stream stream, ReadOnlySpan<float> values, params int[] shape)
    {
        WriteHeader(stream, "<f4", shape);
        stream.Write(MemoryMarshal.AsBytes(values));
    }

    /// <summary>A vector of texts, each as long as the longest.</summary>
    public static void Write(Stream stream, IReadOnlyList<string> texts)
    {
        int longest = Math.Max(1, texts.Max(text => text.EnumerateRunes().Count()));
        WriteHeader(stream, $"<U{longest}", texts.Count);
        byte[] row = new byte[4 * longest];
        foreach (string text in texts)
        {
            Array.Clear(row);
            Encoding.UTF32.GetBytes(text, row);
            stream.Write(row);
        }
    }

    private static void WriteHeader(Stream stream, string type, params int[] shape)
    {
        string sides = string.Join(", ", shape) + (shape.Length == 1 ? "," : "");
        string header = $"{{'descr': '{type}', 'fortran_order': False, 'shape': ({sides}), }}";
        int before = 10 + header.Length + 1;
        header += new string(' ', (Alignment - (before % Alignment)) % Alignment) + "\n";
        stream.Write([0x93, .. "NUMPY"u8, 1, 0]);
        stream.Write(BitConverter.GetBytes((ushort)header.Length));
        stream.Write(Encoding.ASCII.GetBytes(header));
    }
}
