using System.Text;

namespace Bert4Rec.Serialization;

/// <summary>How messages show what stands in files: a value short and in quotes, a message on one line.</summary>
internal static class Printable
{
    /// <summary>Characters of a value that a message shows.</summary>
    private const int Longest = 100;

    private const int BytesPerCharacter = 4;

    /// <summary>'a value', its end left out where it is long.</summary>
    public static string Quoted(ReadOnlySpan<byte> utf8) =>
        Quoted(Encoding.UTF8.GetString(utf8[..Math.Min(utf8.Length, BytesPerCharacter * (Longest + 1))]));

    /// <inheritdoc cref="Quoted(ReadOnlySpan{byte})"/>
    public static string Quoted(string value) => value.Length > Longest ? $"'{OneLine(value[..Longest])}'…" : $"'{OneLine(value)}'";

    /// <summary>A value that stands without quotes.</summary>
    public static string Short(string value) => value.Length > Longest ? $"{OneLine(value[..Longest])}…" : OneLine(value);

    /// <summary>"1 value", "2 values".</summary>
    public static string Count(int count, string what) => count == 1 ? $"1 {what}" : $"{count} {what}s";

    /// <summary>The text with what would not show, or break the line, replaced.</summary>
    public static string OneLine(string text) => string.Create(text.Length, text, (to, from) =>
    {
        for (int i = 0; i < to.Length; i++)
        {
            char character = from[i];
            to[i] = character == '\t' ? ' '
                : char.IsControl(character) || character is '\u2028' or '\u2029' or '\uFEFF' ? '\uFFFD'
                : character;
        }
    });
}
