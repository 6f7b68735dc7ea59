using System.IO.Compression;

namespace Bert4Rec.Serialization;

/// <summary>
/// Unpacks a gzip file of one or several members, and refuses one that is not whole: every member must have its trailer with the right CRC
/// and length, and only zeros may follow the last. <see cref="GZipStream"/> checks the members where the setting
/// System.IO.Compression.UseStrictValidation (Directory.Build.props) is on, but stops without a word at bytes that begin no member; as it
/// reads ahead, its input's position does not tell where it stopped. So it gets the last byte of the file, trailing zeros aside, by itself:
/// it asks for that byte only if all before belongs to members, and for one more only if this one does too.
/// </summary>
internal sealed class GzipInput : ForwardStream
{
    private readonly PackedFile _packed;
    private readonly GZipStream _unpacked;

    /// <param name="path">The file's name, for errors.</param>
    /// <param name="file">The file, at its beginning; it stays the caller's.</param>
    public GzipInput(string path, FileStream file)
        : base(isRead: true)
    {
        Path = path;
        _packed = new PackedFile(file);
        _unpacked = new GZipStream(_packed, CompressionMode.Decompress);
    }

    public string Path { get; }

    /// <summary>Whether a file begins as gzip does; it is at its beginning again afterwards.</summary>
    public static bool IsGzip(FileStream file)
    {
        Span<byte> magic = stackalloc byte[2];
        int read = file.ReadAtLeast(magic, 2, throwOnEndOfStream: false);
        file.Position = 0;
        return read == 2 && magic[0] == 0x1F && magic[1] == 0x8B;
    }

    /// <exception cref="InputException">The gzip data is cut off or damaged.</exception>
    public override int Read(Span<byte> buffer)
    {
        int read;
        try
        {
            read = _unpacked.Read(buffer);
        }
        catch (InvalidDataException e)
        {
            throw new InputException(
                $"{Path}: the gzip data is cut off, or does not match its CRC: the file is damaged; fetch or compress it again", e);
        }
        if (read == 0 && buffer.Length > 0 && !_packed.IsUsedUp)
            throw new InputException($"{Path}: what follows the gzip data is not gzip: the file is damaged; fetch or compress it again");
        return read;
    }

    protected override void Dispose(bool disposing)
    {
        if (disposing)
            _unpacked.Dispose();
        base.Dispose(disposing);
    }

    /// <summary>The file as <see cref="GZipStream"/> gets it: its last byte but for zeros by itself.</summary>
    private sealed class PackedFile(FileStream file) : ForwardStream(isRead: true)
    {
        private readonly long _last = LastNonZero(file);

        /// <summary>Whether the reader asked for what comes after the last byte.</summary>
        public bool IsUsedUp { get; private set; }

        public override int Read(Span<byte> buffer)
        {
            long left = _last - file.Position;
            IsUsedUp |= left < 0;
            return file.Read(left > 0 ? buffer[..(int)Math.Min(buffer.Length, left)] : buffer[..Math.Min(buffer.Length, 1)]);
        }

        /// <summary>Where that byte is; the file is at its beginning again afterwards.</summary>
        private static long LastNonZero(FileStream file)
        {
            byte[] buffer = new byte[4096];
            long start = file.Length;
            while (true)
            {
                int length = (int)Math.Min(buffer.Length, start);
                file.Position = start -= length;
                file.ReadExactly(buffer, 0, length);
                int last = buffer.AsSpan(0, length).LastIndexOfAnyExcept((byte)0);
                if (last < 0 && start > 0)
                    continue;
                file.Position = 0;
                return start + last;
            }
        }
    }
}
