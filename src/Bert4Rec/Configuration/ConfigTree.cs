using Bert4Rec.Serialization;
using YamlDotNet.Core;
using YamlDotNet.RepresentationModel;

namespace Bert4Rec.Configuration;

/// <summary>
/// The settings of several YAML files and overrides, merged, every node still knowing the file and line it was written on.
/// </summary>
internal sealed class ConfigTree
{
    private const int LongestFile = 1 << 22;

    private readonly Dictionary<YamlNode, string> _origins;

    public ConfigTree()
    {
        _origins = new(ReferenceEqualityComparer.Instance);
    }

    /// <summary>A tree of settings that another one resolved.</summary>
    public ConfigTree(ConfigTree other, YamlMappingNode resolved)
    {
        _origins = new(other._origins, ReferenceEqualityComparer.Instance);
        Merge(Root, resolved, overDefaults: false);
    }

    public YamlMappingNode Root { get; } = new();

    /// <summary>Merges a file over what is there: later values win, mappings are merged.</summary>
    /// <exception cref="InputException">The file cannot be read, or is not a YAML mapping.</exception>
    public void AddFile(string path)
    {
        string text = InputFile.ReadText(path, LongestFile, "a config");
        YamlNode? root;
        try
        {
            root = Parse(text, node => $"{path}:{node.Start.Line}");
        }
        catch (YamlException e)
        {
            throw InputException.At(path, Math.Max(1, e.Start.Line), $"not YAML: {OneLine(e.InnerException?.Message ?? e.Message)}");
        }
        if (root is null || IsNull(root))
            return;
        if (root is not YamlMappingNode mapping)
            throw Error(root, "a config is a mapping of 'key: value' lines");
        Merge(Root, mapping, overDefaults: false);
    }

    /// <summary>Merges "key=value", the value being YAML; dots in the key lead into mappings ("eval_args.mode=uni100").</summary>
    /// <exception cref="InputException">There is no key or no '='.</exception>
    public void AddOverride(string setting)
    {
        int equals = setting.IndexOf('=');
        string[] path = equals < 0 ? [""] : setting[..equals].Split('.', StringSplitOptions.TrimEntries);
        if (path.Contains(""))
            throw new InputException($"'{OneLine(setting)}': a setting is key=value, for example epochs=20 or eval_args.mode=uni100");
        string text = setting[(equals + 1)..];
        string origin = $"--set {OneLine(setting)}";
        YamlNode? value;
        try
        {
            value = Parse(text, _ => origin);
        }
        catch (YamlException)
        {
            // "[10,inf)" is an interval, not YAML. What should have been YAML fails as text where it is read.
            value = Known(new YamlScalarNode(text) { Style = ScalarStyle.DoubleQuoted }, origin);
        }
        value ??= Known(new YamlScalarNode("~"), origin);
        foreach (string name in path.Reverse())
            value = Known(new YamlMappingNode { { Known(new YamlScalarNode(name), origin), value } }, origin);
        Merge(Root, (YamlMappingNode)value, overDefaults: false);
    }

    /// <summary>Puts defaults under what is there; a null there takes the default as well.</summary>
    /// <returns>The resolved settings, in the order of <see cref="ConfigKeys.All"/>.</returns>
    public YamlMappingNode Resolve(bool recboleCompatible)
    {
        var resolved = new YamlMappingNode();
        bool fromEventLog = Root.Children.TryGetValue(new YamlScalarNode("event_log"), out var log) && !IsNull(log);
        foreach (var key in ConfigKeys.All)
            resolved.Add(key.Name, Parse(key.DefaultFor(recboleCompatible, fromEventLog), _ => "default")!);
        var acting = new YamlMappingNode();
        foreach (var key in ConfigKeys.All)
        {
            if (Root.Children.TryGetValue(new YamlScalarNode(key.Name), out var value))
                acting.Add(key.Name, value);
        }
        Merge(resolved, acting, overDefaults: true);
        var ordered = new YamlMappingNode();
        foreach (var key in ConfigKeys.All)
            ordered.Add(key.Name, resolved[key.Name]);
        return ordered;
    }

    /// <summary>"FILE:LINE" of a node, or the override it came from.</summary>
    public string Where(YamlNode node) => _origins.GetValueOrDefault(node, "config");

    public InputException Error(YamlNode node, string message) => new($"{Where(node)}: {message}");

    public static bool IsNull(YamlNode node) =>
        node is YamlScalarNode { Value: null }
            or YamlScalarNode { Style: ScalarStyle.Plain or ScalarStyle.Any, Value: "" or "~" or "null" or "Null" or "NULL" };

    public static string OneLine(string text) => text.ReplaceLineEndings(" ");

    private YamlNode? Parse(string text, Func<YamlNode, string> origin)
    {
        var stream = new YamlStream();
        try
        {
            stream.Load(new StringReader(text));
        }
        catch (Exception e) when (e is not YamlException)
        {
            // YamlDotNet lets a few other exceptions out of its scanner.
            throw new YamlException(e.Message);
        }
        if (stream.Documents.Count == 0)
            return null;
        if (stream.Documents.Count > 1)
            throw new YamlException(stream.Documents[1].RootNode.Start, stream.Documents[1].RootNode.End, "a second document begins here");
        foreach (var node in stream.Documents[0].AllNodes)
            _origins[node] = origin(node);
        return stream.Documents[0].RootNode;
    }

    private YamlNode Known(YamlNode node, string origin)
    {
        _origins[node] = origin;
        return node;
    }

    private void Merge(YamlMappingNode target, YamlMappingNode source, bool overDefaults)
    {
        foreach (var (key, given) in source.Children)
        {
            var value = given;
            if (key is not YamlScalarNode { Value: { } name })
                throw Error(key, "a key must be a plain word");
            if (overDefaults && IsNull(value))
                continue;
            // A split is one strategy: merged, it would be two.
            bool merged = value is YamlMappingNode && name != "split";
            if (merged && target.Children.TryGetValue(key, out var old) && old is YamlMappingNode oldMapping)
            {
                var both = new YamlMappingNode { Style = oldMapping.Style };
                _origins[both] = _origins[value];
                Merge(both, oldMapping, overDefaults: false);
                Merge(both, (YamlMappingNode)value, overDefaults);
                value = both;
            }
            target.Children.Remove(key);
            target.Children.Add(key, value);
        }
    }
}
