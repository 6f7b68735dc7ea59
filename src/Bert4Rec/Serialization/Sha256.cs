using System.Security.Cryptography;

namespace Bert4Rec.Serialization;

/// <summary>A SHA-256 that is taken piece by piece; as text it is in lower-case hexadecimal.</summary>
internal sealed class Sha256 : IDisposable
{
    private readonly IncrementalHash _hash = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);

    /// <summary>Characters of a checksum as text.</summary>
    public const int TextLength = 2 * SHA256.HashSizeInBytes;

    public static string Of(ReadOnlySpan<byte> bytes) => Convert.ToHexStringLower(SHA256.HashData(bytes));

    /// <exception cref="InputException">The file cannot be read.</exception>
    public static string OfFile(string path, IProgress<ProgressUpdate>? progress = null, CancellationToken cancellation = default)
    {
        using var hash = new Sha256();
        using var stream = InputFile.Open(path);
        byte[] buffer = new byte[1 << 20];
        long done = 0;
        for (int read = stream.Read(buffer); read > 0; read = stream.Read(buffer))
        {
            cancellation.ThrowIfCancellationRequested();
            hash.Add(buffer.AsSpan(0, read));
            done += read;
            progress?.Report(new($"checking {Path.GetFileName(path)}", done, stream.Length, "bytes"));
        }
        return hash.Finish();
    }

    public void Add(ReadOnlySpan<byte> bytes) => _hash.AppendData(bytes);

    /// <summary>The checksum of everything added.</summary>
    public string Finish() => Convert.ToHexStringLower(_hash.GetHashAndReset());

    public void Dispose() => _hash.Dispose();
}
